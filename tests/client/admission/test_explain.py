"""What a study would cost, against the ledger that then charges it; and every reason against it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.small_study import small_terms, without_privacy
from client.admission.explain import Explanation, explain_study
from client.admission.rules import compute_price
from client.commands.study_table import print_explanation
from client.site.policy import Policy
from client.site.registry import Registration
from privacy.accounting.epsilon import epsilon_of
from privacy.errors import BudgetError
from privacy.ledger import Ledger
from privacy.study import Terms
from tests.privacy.ledger_makers import DATA, KEY, PATIENTS, clock

STUDY = small_terms(evaluation={"rounds": [1, 2], "epsilon": 1.0})
REGISTRATION = Registration(
    contract=small_terms().data,
    population="small",
    train="/a.csv",
    test="/b.csv",
    train_sha256="0" * 64,
    test_sha256="1" * 64,
    public_patients=60,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "ledger.sqlite", KEY, "north", clock()) as made:
        made.register_population("small", DATA, 60, 1, PATIENTS, "c" * 64, "id")
        yield made


def explained(ledger: Ledger, terms: Terms = STUDY, **changes: Any) -> Explanation:
    facts: dict[str, Any] = {
        "policy": Policy(epsilon_per_study=9.0),
        "registration": REGISTRATION.model_copy(update={"contract": terms.data}),
        "approved": False,
        "account": ledger.copy_state().find_account("small"),
        **changes,
    }
    return explain_study(terms, **facts)


def admit(ledger: Ledger, terms: Terms, study: str = "small-00000000") -> None:
    ledger.allow(study, "small", compute_price(terms).plan, terms.digest)


def test_explanation_is_what_the_ledger_then_charges(ledger: Ledger) -> None:
    """Total, share of a round, of an evaluation and what is left: all against the entries that follow."""
    ledger.grant("small", 9.0, 1e-3, 4)
    found = explained(ledger)
    assert found.admitted
    cost = found.cost
    assert cost is not None
    admit(ledger, STUDY)
    budget = ledger.read_state().find_account("small").budget
    assert budget.epsilon_set_aside == cost.total
    assert (cost.left_before, cost.left_after) == (9.0, budget.epsilon_left)
    train, evaluate = compute_price(STUDY).plan
    ledger.reserve("small-00000000", 1, train.event)
    assert ledger.read_state().find_account("small").budget.epsilon_spent == pytest.approx(
        cost.conversion + cost.round, abs=2e-4
    )
    ledger.pay_evaluation("small-00000000", 1, evaluate.event)
    spent = ledger.read_state().find_account("small").budget.epsilon_spent
    assert spent == pytest.approx(cost.conversion + cost.round + cost.evaluation, abs=3e-4)
    assert (cost.rounds, cost.evaluations) == (2, 2)
    parts = cost.conversion + cost.rounds * cost.round + cost.evaluations * cost.evaluation
    assert parts == pytest.approx(cost.total, abs=1e-3)


def test_study_of_whole_sites_is_priced_for_the_patient(ledger: Ledger) -> None:
    terms = small_terms(
        training={"weights": "uniform"},
        privacy={"unit": "site", "placement": "distributed"},
        cohort={"participation": 0.5},
        evaluation={"rounds": []},
    )
    ledger.grant("small", 9.0, 1e-3, 4)
    found = explained(ledger, terms)
    assert found.admitted
    (planned,) = compute_price(terms).plan
    assert (planned.event.kind, planned.times) == ("site-updates", 2)
    assert 2.99 < epsilon_of([planned.event] * 2, 1e-3) <= 3
    admit(ledger, terms)
    assert found.cost is not None
    assert ledger.read_state().find_account("small").budget.epsilon_set_aside == found.cost.total


def test_second_study_brings_no_conversion(ledger: Ledger) -> None:
    ledger.grant("small", 9.0, 1e-3, 4)
    first = explained(ledger).cost
    admit(ledger, STUDY)
    second = explained(ledger).cost
    assert first is not None
    assert second is not None
    assert (first.conversion > 1, second.conversion) == (True, 0)
    assert second.left_before == first.left_after


def test_promise_is_the_studys_own_epsilon(ledger: Ledger) -> None:
    found = explained(ledger)
    train = compute_price(STUDY).plan[0].event
    assert (found.epsilon, found.delta) == (3.0, 1e-3)
    assert 2.999 < epsilon_of([train] * 2, 1e-3) <= 3
    assert found.noise_multiplier == compute_price(STUDY).noise_multiplier
    assert found.evaluation_noise_multiplier == compute_price(STUDY).evaluation_noise_multiplier


def test_study_is_paid_from_the_first_grant_with_room(ledger: Ledger) -> None:
    ledger.grant("small", 3.0, 1e-3, 4)
    ledger.grant("small", 9.0, 1e-3, 3)
    found = explained(ledger)
    assert found.cost is not None
    assert (found.cost.grant, found.cost.order) == (2, 3)
    admit(ledger, STUDY)
    allowed = ledger.read_state().find_allowance("small-00000000")
    assert allowed is not None
    assert allowed.grant == found.cost.grant


def test_study_that_does_not_fit_is_explained_with_what_is_left(ledger: Ledger) -> None:
    ledger.grant("small", 2.0, 1e-3, 4)
    ledger.grant("small", 3.0, 1e-3, 4)
    found = explained(ledger)
    assert not found.admitted
    assert found.cost is not None
    assert (found.cost.grant, found.cost.left_before, found.cost.left_after) == (2, 3.0, None)
    (reason,) = found.reasons
    assert reason.code == "budget"
    assert "asks for epsilon" in reason.sentence
    assert "3.0000 is left of 3" in reason.sentence


def test_every_reason_is_told_not_only_the_first(ledger: Ledger) -> None:
    found = explained(
        ledger,
        policy=Policy(models=("mlp",), minimum_sites=4, minimum_patients=70),
        registration=REGISTRATION.model_copy(update={"public_patients": 60}),
        terms=small_terms(privacy={"epsilon": 4.0, "delta": 0.1}),
    )
    assert [reason.code for reason in found.reasons] == [
        "policy", "policy", "policy", "policy", "data", "delta", "budget",
    ]  # fmt: skip
    for reason, word in zip(
        found.reasons,
        ("mlp", "4", "epsilon 4", "test patients", "70", "delta 0.1", "no budget is granted"),
        strict=True,
    ):
        assert word in reason.sentence


def test_files_that_the_ledger_does_not_know_are_a_reason(ledger: Ledger) -> None:
    found = explained(ledger, account=None)
    assert [reason.code for reason in found.reasons] == ["data"]
    assert "not what the ledger knows" in found.reasons[0].sentence
    assert found.cost is None


def test_study_of_data_that_are_not_registered_still_shows_its_promise(ledger: Ledger) -> None:
    found = explained(ledger, registration=None, account=None)
    assert [reason.code for reason in found.reasons] == ["data"]
    assert (found.population, found.cost) == (None, None)
    assert found.noise_multiplier


def test_study_that_no_noise_makes_cheap_enough_is_refused_once(ledger: Ledger) -> None:
    ledger.grant("small", 9.0, 1e-3, 4)
    hopeless = small_terms(privacy={"epsilon": 0.02, "delta": 1e-300}, evaluation={"rounds": []})
    for changes in ({}, {"registration": None, "account": None}):
        found = explained(ledger, hopeless, **changes)
        sentences = [reason.sentence for reason in found.reasons if reason.code == "budget"]
        assert len(sentences) == 1
        assert "no noise reaches epsilon 0.02 at delta 1e-300" in sentences[0]
        assert (found.noise_multiplier, found.cost) == (None, None)


def test_study_without_privacy_has_no_cost_and_may_be_admitted(ledger: Ledger) -> None:
    found = explained(ledger, without_privacy(), policy=Policy(without_privacy=("small",)))
    assert found.admitted
    assert (found.epsilon, found.cost, found.noise_multiplier) == (None, None, None)


def test_private_study_after_one_without_privacy_is_refused(ledger: Ledger) -> None:
    ledger.grant("small", 9.0, 1e-3, 4)
    bare = without_privacy()
    admit(ledger, bare, "bare-00000000")
    ledger.reserve("bare-00000000", 1, compute_price(bare).plan[0].event)
    found = explained(ledger)
    assert [reason.code for reason in found.reasons] == ["budget"]
    assert "was trained on without privacy by the study 'bare-00000000'" in found.reasons[0].sentence


@pytest.mark.parametrize("runs", [1, 3])
def test_runs_take_together_what_the_ledger_then_charges_for_each(ledger: Ledger, runs: int) -> None:
    """Launched so often, the ledger has that set aside; by themselves they cost what their events compose to."""
    ledger.grant("small", 30.0, 1e-3, 4)
    together = explained(ledger, runs=runs).runs
    assert together is not None
    for number in range(runs):
        admit(ledger, STUDY, f"small-{number:08x}")
    assert (together.runs, together.fitting) == (runs, runs)
    assert together.epsilon == ledger.read_state().find_account("small").budget.epsilon_set_aside
    train, evaluate = compute_price(STUDY).plan
    assert together.alone == pytest.approx(epsilon_of([train.event] * train.times * runs, 1e-3), abs=1e-4)
    assert together.alone_evaluation == pytest.approx(
        epsilon_of([evaluate.event] * evaluate.times * runs, 1e-3), abs=1e-4
    )


def test_runs_that_do_not_fit_are_counted_as_the_ledger_would_refuse_them(ledger: Ledger) -> None:
    ledger.grant("small", 9.0, 1e-3, 4)
    together = explained(ledger, runs=50).runs
    assert together is not None
    assert 0 < together.fitting < 50
    for number in range(together.fitting):
        admit(ledger, STUDY, f"small-{number:08x}")
    assert together.epsilon == ledger.read_state().find_account("small").budget.epsilon_set_aside
    with pytest.raises(BudgetError, match="asks for epsilon"):
        admit(ledger, STUDY, "small-ffffffff")
    assert explained(ledger).runs is None


def test_runs_of_a_study_without_privacy_have_no_price(ledger: Ledger) -> None:
    assert explained(ledger, without_privacy(), runs=3).runs is None


@pytest.mark.parametrize(("runs", "words"), [(2, "all of them fit"), (50, "of them fit, the next one is refused")])
def test_runs_are_shown_to_people(
    ledger: Ledger, runs: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.grant("small", 9.0, 1e-3, 4)
    explanation = explained(ledger, runs=runs)
    assert explanation.runs is not None
    print_explanation(explanation)
    shown = capsys.readouterr().out
    assert f"{runs} runs" in shown
    assert words in shown
    assert f"take epsilon {explanation.runs.epsilon:.4f} of the grants" in shown
    assert f"the best of {runs} is charged as {runs}" in shown
