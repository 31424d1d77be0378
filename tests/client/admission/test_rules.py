"""Every rule by which a site refuses a study, in the order of the table in ``client/admission/rules.py``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.small_study import CONTRACT, small_terms, without_privacy
from client.admission.rules import Price, admit
from client.site.policy import Policy
from client.site.registry import Registration
from models.catalogue import NAMES
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import Gaussian, SampledGaussian, Unprotected
from privacy.accounting.figures import Budget
from privacy.accounting.plan import Purpose
from privacy.errors import BudgetError, RefusedError
from privacy.keys import PublicKey, SigningKey
from privacy.ledger import Ledger
from privacy.program import Program
from privacy.protocol.enrolment import Admission
from privacy.protocol.envelope import read_body
from privacy.protocol.messages import Join, Problem
from privacy.study import DataContract, Placement, Terms, Unit
from privacy.study.launch import SignedLaunch
from tests.privacy.launch_makers import COORDINATOR_KEY, OPERATOR_KEY, PROGRAM, SITE_KEYS, key_number, launch_of
from tests.simulator import Simulator
from tests.statistics_study import ASKED, statistics_terms

PROTECTED: dict[str, Any] = {"evaluation": {"rounds": [2], "epsilon": 1.0}}
REGISTRATION = Registration(
    contract=small_terms().data,
    population="small",
    train="/a.csv",
    test="/b.csv",
    train_sha256="0" * 64,
    test_sha256="1" * 64,
    public_patients=60,
)


def budget(folder: Path, epsilon: float | None = 6.0, order: int = 8) -> Budget:
    """What a real ledger says of the population."""
    with Ledger.create(folder / "ledger.sqlite", SITE_KEYS["ash"], "ash") as ledger:
        ledger.register_population("small", "0" * 64, 60, 1, "2" * 64, "c" * 64, "id")
        if epsilon is not None:
            ledger.grant("small", epsilon, 1e-3, order)
        return ledger.read_state().find_account("small").budget


@dataclass
class Case:
    """A study that the site 'ash' admits, unless something is changed."""

    budget: Budget | None
    terms: Terms = field(default_factory=lambda: small_terms(**PROTECTED))
    keys: dict[str, SigningKey] = field(default_factory=lambda: dict(SITE_KEYS))
    signer: SigningKey = COORDINATOR_KEY
    federation: str = "wood"
    policy: Policy = field(default_factory=lambda: Policy(epsilon_per_study=4.0))
    pinned: dict[str, PublicKey] = field(
        default_factory=lambda: {name: SITE_KEYS[name].public for name in ("birch", "cedar")}
    )
    registration: Registration | None = REGISTRATION
    registered: DataContract | None = None
    """The contract that people registered the files under; None is the study's."""
    weights: frozenset[str] = frozenset()
    program: Program = PROGRAM
    device: str = "auto"
    doubts: dict[str, str] = field(default_factory=dict)

    def judged(self) -> Price:
        admission = Admission(
            federation="wood",
            name="ash",
            identity=SITE_KEYS["ash"].public.text,
            coordinator=COORDINATOR_KEY.public.text,
            address="127.0.0.1:9092",
            control="127.0.0.1:9093",
            ca_certificate="-",
            certificate="-",
        )
        return admit(
            SignedLaunch.sign(self.signer, launch_of(self.terms, self.keys, self.federation)),
            site="ash",
            identity=SITE_KEYS["ash"].public,
            admission=admission,
            pinned=self.pinned,
            doubts=self.doubts,
            policy=self.policy,
            registration=self.registration and self.registration.model_copy(update={"contract": self.contract()}),
            account=self.budget,
            program=self.program,
            device=self.device,
            weights=self.weights,
        )

    def contract(self) -> DataContract:
        return self.terms.data if self.registered is None else self.registered

    def refused(self, code: str, sentence: str) -> None:
        with pytest.raises(RefusedError) as caught:
            self.judged()
        assert caught.value.code == code
        assert sentence in str(caught.value)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(budget(tmp_path))


def test_study_that_keeps_every_rule_is_admitted(case: Case) -> None:
    assert case.judged().noise_multiplier is not None


# federation ------------------------------------------------------------------------------------------------


def test_launch_by_another_coordinator_is_refused(case: Case) -> None:
    case.signer = key_number(9)
    case.refused("federation", "the launch is not signed by the coordinator this site joined")


def test_launch_for_another_federation_is_refused(case: Case) -> None:
    case.federation = "sea"
    case.refused("federation", "the launch is for 'sea', this site joined 'wood'")


# roster ----------------------------------------------------------------------------------------------------


def test_launch_without_this_site_is_refused(case: Case) -> None:
    case.keys["elm"] = case.keys.pop("ash")
    case.refused("roster", "this site is not on the roster with its own key")


def test_launch_with_another_key_for_this_site_is_refused(case: Case) -> None:
    case.keys["ash"] = key_number(9)
    case.refused("roster", "this site is not on the roster with its own key")


def test_launch_with_a_site_that_nobody_here_has_pinned_is_refused(case: Case) -> None:
    case.keys["puppet"] = key_number(9)
    case.refused(
        "roster", "'puppet' is not a pinned peer; compare its key with its people, then run: consilium-site"
    )


def test_launch_with_a_peer_that_is_believed_no_more_is_refused_with_the_reason(case: Case) -> None:
    case.doubts["cedar"] = "the consortium 'trees' has revoked the key of 'cedar'"
    case.refused("roster", "has revoked the key of 'cedar'")


def test_launch_with_another_key_for_a_pinned_peer_is_refused(case: Case) -> None:
    case.keys["cedar"] = key_number(9)
    case.refused("roster", "the roster gives 'cedar' another key than the one this site has pinned")


# order and program -------------------------------------------------------------------------------------------


def test_launch_by_an_operator_who_is_not_in_the_policy_is_refused(case: Case) -> None:
    case.policy = Policy(epsilon_per_study=4.0, operators={"ada": key_number(9).public.typed})
    case.refused(
        "policy", f"'ada' launched it with the key {OPERATOR_KEY.public.typed}, which is not under 'operators'"
    )
    case.policy = Policy(epsilon_per_study=4.0, operators={"grace": OPERATOR_KEY.public.typed})
    assert case.judged().noise_multiplier is not None


def test_launch_for_another_version_is_refused_with_what_to_install(case: Case) -> None:
    case.program = Program(version="1.2.2", code="c" * 64)
    case.refused("program", "the study is for version 1.2.3, this site runs 1.2.2; install 1.2.3 here")


def test_launch_for_other_code_of_the_same_version_is_refused(case: Case) -> None:
    case.program = Program(version="1.2.3", code="d" * 64)
    case.refused("program", "for 1.2.3 (cccccccccccc), this site runs 1.2.3 (dddddddddddd): the same version")


# policy ----------------------------------------------------------------------------------------------------


def test_model_that_the_policy_does_not_allow_is_refused(case: Case) -> None:
    case.policy = Policy(models=("mlp",))
    case.refused(
        "policy", "the model 'logistic', version 1 in this site's program, is not allowed here; allowed: mlp;"
    )


@pytest.mark.parametrize("models", [("logistic",), ("logistic@1",), ("mlp", "logistic@2", "logistic@1"), ("all",)])
def test_version_of_a_model_that_the_policy_allows_is_admitted(case: Case, models: tuple[str, ...]) -> None:
    case.policy = Policy(models=models, epsilon_per_study=4.0)
    case.judged()


@pytest.mark.parametrize("models", [("logistic@2",), ("logistic@11", "mlp@1"), ("logisti@1",)])
def test_version_of_a_model_that_the_policy_does_not_allow_is_refused(case: Case, models: tuple[str, ...]) -> None:
    """The version is that of the code that would train here, whether the study names one or not."""
    case.policy = Policy(models=models)
    case.refused(
        "policy",
        f"the model 'logistic', version 1 in this site's program, is not allowed here; allowed: {', '.join(models)}; "
        "whoever allows it writes logistic, or logistic@1, under models in policy.yaml",
    )


def test_study_that_names_a_version_is_for_this_version_alone(case: Case) -> None:
    case.terms = small_terms(model={"version": 1}, **PROTECTED)
    case.judged()
    case.terms = small_terms(model={"version": 2}, **PROTECTED)
    case.refused(
        "policy", "model.version: 'logistic' is version 1 in this program, the study asks for version 2; install"
    )


def test_model_that_the_catalogue_does_not_have_is_refused(case: Case) -> None:
    case.policy = Policy(models=("transformer",))
    case.terms = small_terms(model={"name": "transformer"}, **PROTECTED)
    case.refused("policy", f"there is no model 'transformer'; known models: {', '.join(NAMES)}")


def test_model_options_that_the_catalogue_does_not_take_are_refused(case: Case) -> None:
    case.terms = small_terms(model={"options": {"hidden": [4]}}, **PROTECTED)
    case.refused("policy", "model.options.hidden: 'logistic' has no such option")


def test_study_with_fewer_sites_than_the_policy_asks_is_refused(case: Case) -> None:
    case.policy = Policy(minimum_sites=4)
    case.refused("policy", "the study may run with 3 sites, this site asks for 4")


def test_study_without_privacy_is_refused_unless_the_policy_allows_it(case: Case) -> None:
    case.terms = without_privacy()
    case.refused("policy", "the study has no privacy (epsilon: none), which this site does not allow")
    case.policy = Policy(without_privacy=("other",))
    case.refused("policy", "they can never be in a study with privacy again")
    case.policy = Policy(without_privacy=(REGISTRATION.population,))
    assert case.judged().noise_multiplier is None


def test_study_with_more_epsilon_than_the_policy_allows_is_refused(case: Case) -> None:
    case.terms = small_terms(evaluation={"rounds": []})
    case.policy = Policy(epsilon_per_study=2.5)
    case.refused("policy", "the study asks for epsilon 3, this site allows 2.5 a study in all")


def test_epsilon_of_training_and_evaluation_together_is_bounded_by_the_policy(case: Case) -> None:
    case.policy = Policy(epsilon_per_study=3.9)
    case.refused("policy", "asks for epsilon 3 to train and 1 to evaluate, this site allows 3.9 a study in all")
    case.terms = small_terms(privacy={"epsilon": 0.1}, evaluation={"rounds": [2], "epsilon": 100.0})
    case.refused("policy", "asks for epsilon 0.1 to train and 100 to evaluate")


def test_study_that_withstands_fewer_colluders_than_the_policy_asks_is_refused(case: Case) -> None:
    case.terms = small_terms(cohort={"colluders": 0}, **PROTECTED)
    case.refused("policy", "protects against 0 sites that conspire with the coordinator, this site asks for 1")
    case.policy = Policy(epsilon_per_study=4.0, minimum_colluders=0)
    assert case.judged().noise_multiplier


def test_bare_evaluation_is_refused_unless_the_policy_allows_it(case: Case) -> None:
    case.terms = small_terms()
    case.refused("policy", "the study's evaluation does not protect test patients, which this site does not allow")
    case.policy = Policy(unprotected_test_patients=True)
    assert case.judged().evaluation_noise_multiplier is None


def test_study_without_evaluation_needs_no_leave_for_it(case: Case) -> None:
    case.terms = small_terms(evaluation={"rounds": []})
    assert [planned.purpose for planned in case.judged().plan] == [Purpose.TRAIN]


# weights ---------------------------------------------------------------------------------------------------


def test_study_whose_public_weights_are_not_here_is_refused_with_what_to_run(case: Case) -> None:
    case.terms = small_terms(model={"start": "a" * 64}, **PROTECTED)
    case.weights = frozenset({"b" * 64})
    case.refused(
        "weights", f"public weights of SHA-256 {'a' * 64}, which are not here; get the file from its publisher"
    )
    case.refused("weights", "then run: consilium-site weights add FILE")
    case.weights = frozenset({"a" * 64})
    assert case.judged().noise_multiplier is not None


# data ------------------------------------------------------------------------------------------------------


def test_study_of_data_that_are_not_registered_is_refused(case: Case) -> None:
    case.registration = None
    case.refused("data", "no data are registered under the study's contract 'small'")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"patient": "visit"}, "patient"),
        ({"label": {"name": "hiv", "positive": ["yes"], "negative": ["no"]}}, "label"),
        ({"records_per_patient": 40}, "records_per_patient"),
        ({"missing": ["", "NA"], "ranges_from": "elsewhere"}, "ranges_from, missing"),
        ({"features": CONTRACT["features"][:1]}, "features"),
    ],
)
def test_contract_that_only_has_the_registered_ones_name_is_refused(
    case: Case, change: dict[str, Any], parts: str
) -> None:
    case.registered = small_terms().data
    case.terms = small_terms(data=change, **PROTECTED)
    case.refused("data", f"keep another contract than the study's: {parts} differ; look at the study's columns")


def test_study_of_too_few_patients_is_refused(case: Case) -> None:
    case.registration = REGISTRATION.model_copy(update={"public_patients": 40})
    case.refused("data", "about 40 patients are registered, this site asks for 50")


# delta -----------------------------------------------------------------------------------------------------


def test_delta_above_one_in_the_patients_is_refused(case: Case) -> None:
    case.registration = REGISTRATION.model_copy(update={"public_patients": 1000})  # up to 1,009 patients
    case.refused("delta", "delta 0.001 is more than one in 1010 patients; ask for at most 0.00099")


def test_delta_of_one_in_the_patients_is_admitted(case: Case) -> None:
    case.registration = REGISTRATION.model_copy(update={"public_patients": 990})
    assert case.judged().noise_multiplier


# budget ----------------------------------------------------------------------------------------------------


def test_study_on_files_that_the_ledger_does_not_know_is_refused(case: Case) -> None:
    case.budget = None
    case.refused("data", "are not what the ledger knows of the population 'small': register them again")


def test_study_of_a_population_without_a_grant_is_refused(case: Case, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    case.budget = budget(tmp_path / "other", epsilon=None)
    case.refused("budget", "no budget is granted for 'small'; run: consilium-site budget grant small")


def test_study_that_no_noise_makes_cheap_enough_is_refused(case: Case) -> None:
    """At so small a delta the conversion alone takes more than the epsilon, at every order."""
    case.terms = small_terms(privacy={"epsilon": 0.02, "delta": 1e-300}, **PROTECTED)
    case.refused("budget", "no noise reaches epsilon 0.02 at delta 1e-300")


def test_evaluation_that_no_noise_makes_cheap_enough_is_refused(case: Case) -> None:
    case.terms = small_terms(privacy={"delta": 1e-300}, evaluation={"rounds": [2], "epsilon": 0.02})
    case.refused("budget", "no noise reaches epsilon 0.02 at delta 1e-300 for 1 steps at rate 1")


def test_unit_and_placement_that_the_policy_does_not_name_are_refused(case: Case) -> None:
    case.policy = Policy(epsilon_per_study=4.0, units=(Unit.SITE,))
    case.refused("policy", "the study's privacy has the unit 'patient', this site allows: site")
    case.policy = Policy(epsilon_per_study=4.0, placements=(Placement.DISTRIBUTED,))
    case.refused("policy", "the study's privacy has the placement 'local', this site allows: distributed")


def test_correlated_noise_is_refused_unless_the_policy_names_it(case: Case) -> None:
    case.terms = small_terms(
        training={"local_steps": 4, "sampling_rate": 0.25},
        privacy={"placement": "correlated", "correlation": {"matrix": "banded"}},
        **PROTECTED,
    )
    case.policy = Policy(epsilon_per_study=4.0)
    case.refused("policy", "the placement 'correlated', this site allows: local, distributed")
    case.policy = Policy(epsilon_per_study=4.0, placements=(Placement.CORRELATED,))
    assert case.judged().noise_multiplier is not None


def test_device_that_the_policy_does_not_name_is_refused(case: Case) -> None:
    case.policy = Policy(epsilon_per_study=4.0, devices=("cpu",))
    case.refused("policy", "this site may train on cpu only, and site.yaml says device: auto")
    case.device = "cpu"
    assert case.judged().noise_multiplier is not None


def test_round_of_more_bytes_than_the_policy_allows_is_refused(case: Case) -> None:
    case.policy = Policy(epsilon_per_study=4.0, megabytes_per_round=0.001)
    case.refused("policy", "MB, this site allows 0.001")
    case.policy = Policy(epsilon_per_study=4.0, megabytes_per_round=50)
    assert case.judged().noise_multiplier is not None


def test_first_rule_that_fails_is_the_refusals_code(case: Case) -> None:
    case.signer, case.policy, case.registration, case.budget = key_number(9), Policy(minimum_sites=9), None, None
    case.refused("federation", "")
    case.signer, case.pinned = COORDINATOR_KEY, {}
    case.refused("roster", "")
    case.pinned = {name: SITE_KEYS[name].public for name in ("birch", "cedar")}
    case.refused("policy", "")
    case.policy = Policy(epsilon_per_study=4.0)
    case.refused("data", "")


def test_refusal_is_answered_and_written_in_the_ledger(tmp_path: Path) -> None:
    """Through the site itself: code and sentence go to the coordinator and to the ledger, and nothing is begun."""
    simulator = Simulator(tmp_path / "wood", small_terms())
    site_file = simulator.homes["ash"].folder / "policy.yaml"
    site_file.write_text(site_file.read_text().replace("epsilon_per_study: 3.0", "epsilon_per_study: 2.0"))
    simulator.restart_site("ash")
    simulator.launch()
    asked = simulator.signed("ash", Join(launch=simulator.journal.read_launch(), epoch=1))
    reply = read_body(simulator.sites["ash"].answer(asked)).content
    assert isinstance(reply, Problem)
    assert (reply.code, reply.sentence) == (
        "policy",
        "the study asks for epsilon 3, this site allows 2 a study in all",
    )
    (entry,) = simulator.entries("ash", "refuse")
    assert entry.body.model_dump() == {"study": simulator.study, "code": reply.code, "sentence": reply.sentence}
    assert simulator.entries("ash", "allow") == []
    assert not simulator.homes["ash"].find_study_folder(simulator.study).exists()
    simulator.close()


# The price -------------------------------------------------------------------------------------------------


def test_price_is_the_studys_own_epsilon(case: Case) -> None:
    """The noise makes the whole study, alone, cost at most its epsilon, and hardly less."""
    price = case.judged()
    train, evaluate = price.plan
    assert price.noise_multiplier is not None
    assert price.evaluation_noise_multiplier is not None
    assert train.event == SampledGaussian(noise_multiplier=price.noise_multiplier, sampling_rate=0.5, steps=3)
    assert evaluate.event == Gaussian(noise_multiplier=price.evaluation_noise_multiplier, count=1)
    assert (train.times, evaluate.times) == (2, 1)
    assert 2.999 < epsilon_of([train.event] * 2, 1e-3) <= 3
    assert 0.999 < epsilon_of([evaluate.event], 1e-3) <= 1


def test_price_is_what_the_ledger_sets_aside_at_the_grants_order(case: Case, tmp_path: Path) -> None:
    price = case.judged()
    event = price.plan[0].event
    with Ledger.open(tmp_path / "ledger.sqlite", SITE_KEYS["ash"]) as ledger:
        ledger.allow("small-00000000", "small", price.plan, "2" * 64)
        for number in (1, 2):
            ledger.reserve("small-00000000", number, event)
        assert ledger.read_state().find_account("small").budget.epsilon_spent == pytest.approx(
            epsilon_of([event] * 2, 1e-3, orders=(8,)), abs=1e-3
        )
        assert ledger.read_state().find_account_of_study("small-00000000").compute_study_epsilon(
            "small-00000000", 1e-3
        ) == pytest.approx(3, abs=1e-3)


def test_study_that_the_grant_does_not_hold_is_refused_by_the_ledger(case: Case, tmp_path: Path) -> None:
    """Two studies of epsilon 2.9 each at order 8 do not fit where 6 was granted."""
    plan = case.judged().plan
    with Ledger.open(tmp_path / "ledger.sqlite", SITE_KEYS["ash"]) as ledger:
        ledger.allow("one-00000000", "small", plan, "2" * 64)
        with pytest.raises(BudgetError, match=r"the study 'two-00000000' asks for epsilon .* is left of 6"):
            ledger.allow("two-00000000", "small", plan, "3" * 64)


def test_price_without_privacy_is_unbounded(case: Case) -> None:
    case.terms, case.policy = without_privacy(), Policy(without_privacy=(REGISTRATION.population,))
    price = case.judged()
    assert [planned.event for planned in price.plan] == [Unprotected(), Unprotected()]
    assert (price.noise_multiplier, price.evaluation_noise_multiplier) == (None, None)


@pytest.mark.parametrize(("patients", "fits"), [(300, True), (4_000_000, True), (4_200_000, False)])
def test_statistics_whose_share_would_be_cut_are_refused(case: Case, patients: int, fits: bool) -> None:
    """A share that is cut has lost noise that the others count on."""
    case.terms = statistics_terms(privacy={"delta": 1e-7}, cohort={"minimum": 3}, task={**ASKED, "differences": []})
    case.policy = Policy(statistics="anybody")
    case.registration = REGISTRATION.model_copy(update={"public_patients": patients})
    if fits:
        assert case.judged().evaluation_noise_multiplier is not None
    else:
        case.refused("noise", "may not fit the 32 bits of a total")
