"""What ``consilium study check`` says, against other ways to compute it."""

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant
from safetensors.numpy import save_file

from benchmarks.small_study import small_terms, without_privacy
from privacy.canonical import compute_sha256
from privacy.errors import BudgetError, TermsError
from privacy.secure_aggregation.layout import Layout
from privacy.study import Terms, read_terms
from privacy.study.cost import compute_evaluation_noise
from server.study.check import check_study, count_parameters, require_weights
from tests.models.tables import build_for_table
from tests.privacy.vectors.ledger.mechanisms import ORDERS, charge, limit


def test_parameters_are_those_of_the_built_model() -> None:
    terms = small_terms(model={"name": "mlp", "options": {"hidden": [4, 3]}})
    width = 2 + 3  # a number and a category of two words, each with its missing-indicator
    built = build_for_table("mlp", {"hidden": [4, 3]}, width)
    assert count_parameters(terms) == sum(parameter.numel() for parameter in built.parameters())
    assert count_parameters(small_terms()) == width + 1


@pytest.mark.parametrize(
    "model", [{"name": "transformer"}, {"name": "mlp"}, {"name": "logistic", "options": {"x": 1}}]
)
def test_model_that_the_catalogue_does_not_have_is_the_authors_mistake(model: dict[str, object]) -> None:
    with pytest.raises(TermsError, match="model"):
        check_study(small_terms(model={"options": {}, **model})).model_dump(by_alias=True)


def test_figures_are_the_terms_own() -> None:
    terms = small_terms()
    found = check_study(terms).model_dump(by_alias=True)
    assert (found["study"], found["digest"]) == ("small", terms.digest)
    assert (found["rounds"], found["exchanges"]) == (2, 3)
    assert found["float32_bytes"] == 4 * found["parameters"]


def test_bytes_are_those_of_the_sealed_vector() -> None:
    found = check_study(small_terms()).model_dump(by_alias=True)
    layout = Layout(found["parameters"], 0, 16, 8)
    assert found["ciphertexts"] == layout.parts == 1
    assert found["bytes_up"] == layout.sealed_bytes
    assert found["bytes_down"] == layout.compute_aggregate_bytes(8)


def test_noise_keeps_the_promise_by_another_accountant() -> None:
    """dp-accounting, over the same integer orders: at most the epsilon asked, and hardly less."""
    terms = small_terms()
    found = check_study(terms).model_dump(by_alias=True)["privacy"]
    orders = range(2, 257)
    whole, first = RdpAccountant(orders), RdpAccountant(orders)
    step = PoissonSampledDpEvent(0.5, GaussianDpEvent(found["noise_multiplier"]))
    whole.compose(step, terms.training.rounds * terms.training.lots)
    first.compose(step, terms.training.local_steps)
    assert whole.get_epsilon(1e-3) == pytest.approx(3, abs=1e-3)
    assert whole.get_epsilon(1e-3) <= 3 + 1e-9
    assert found["epsilon_after_first_round"] == pytest.approx(first.get_epsilon(1e-3), rel=1e-6)
    assert (found["steps"], found["smallest_population"]) == (6, 1000)


@pytest.mark.parametrize(
    ("correlation", "kept"),
    [({"matrix": "banded", "bands": 3}, 2 * 8 * 6), ({"matrix": "banded"}, 3 * 8 * 6), ({"matrix": "tree"}, 0)],
)
def test_figures_of_correlated_noise_are_those_of_its_matrix(correlation: dict[str, Any], kept: int) -> None:
    """The matrix is built whole here; order, exact epsilon and what is left of the noise follow from it."""
    terms = small_terms(
        training={"rounds": 3, "local_steps": 8, "sampling_rate": 0.25},
        privacy={"placement": "correlated", "correlation": correlation},
        secure_aggregation={"value_range": "auto"},
    )
    found = check_study(terms).model_dump(by_alias=True)["privacy"]
    figures = found["correlation"]
    assert (figures["lots"], figures["passes"], figures["kept_bytes"]) == (4, 6, kept)
    steps, sigma = 24, found["noise_multiplier"]
    if correlation["matrix"] == "banded":
        band = [math.comb(2 * k, k) / 4**k for k in range(correlation.get("bands", 4))]
        strategy = sum((each * np.eye(steps, k=-k) for k, each in enumerate(band)), np.zeros((steps, steps)))
        left = float(np.linalg.norm(np.linalg.inv(strategy).sum(0)))
        sensitivity = max(float(np.linalg.norm(strategy[:, phase::4].sum(1))) for phase in range(4))
    else:  # in each pass a node of four steps is left, and a step is in three nodes
        left, sensitivity = math.sqrt(6), math.sqrt(6 * 3)
    assert figures["noise_left"] == pytest.approx(sigma * left, rel=1e-9)
    exact = figures["exact_epsilon"]
    mu = sensitivity / sigma
    delta = NormalDist().cdf(mu / 2 - exact / mu) - math.exp(exact) * NormalDist().cdf(-mu / 2 - exact / mu)
    assert delta == pytest.approx(1e-3, rel=1e-6)
    assert exact < found["epsilon"] == 3
    drawn = small_terms(training={"rounds": 3, "local_steps": 8, "sampling_rate": 0.25})
    independent = check_study(drawn).model_dump(by_alias=True)["privacy"]
    assert independent["correlation"] is None
    assert figures["drawn_multiplier"] == independent["noise_multiplier"]
    assert figures["drawn_noise_left"] == pytest.approx(independent["noise_multiplier"] * math.sqrt(24))


def test_noise_that_a_site_could_not_keep_is_a_problem() -> None:
    terms = small_terms(
        model={"name": "mlp", "options": {"hidden": [2000, 2000]}},
        training={"local_steps": 100, "sampling_rate": 0.01},
        privacy={"placement": "correlated", "correlation": {"matrix": "banded"}},
        secure_aggregation={"value_range": "auto"},
    )
    (problem,) = check_study(terms).problems
    assert "privacy.correlation.bands is 64: between two rounds a site would keep 2,0" in problem


def test_study_without_privacy_says_so() -> None:
    assert check_study(without_privacy()).model_dump(by_alias=True)["privacy"] == {"private": False}


def test_test_patients_are_protected_when_totals_are_noised_or_none_are_taken() -> None:
    assert not check_study(small_terms()).model_dump(by_alias=True)["privacy"]["test_patients_protected"]
    assert check_study(small_terms(evaluation={"epsilon": 1.0})).model_dump(by_alias=True)["privacy"][
        "test_patients_protected"
    ]
    assert check_study(small_terms(evaluation={"rounds": []})).model_dump(by_alias=True)["privacy"][
        "test_patients_protected"
    ]


def test_epsilon_that_no_noise_reaches_is_refused() -> None:
    with pytest.raises(BudgetError, match=r"no noise reaches epsilon 0\.0001"):
        check_study(small_terms(privacy={"epsilon": 0.0001, "delta": 1e-9})).model_dump(by_alias=True)


@pytest.mark.parametrize(("bits", "maximum"), [(8, 3), (16, 8), (16, 64), (24, 64)])
def test_every_sealing_that_terms_allow_is_explained(bits: int, maximum: int) -> None:
    found = check_study(small_terms(secure_aggregation={"bits": bits}, cohort={"maximum": maximum})).model_dump(
        by_alias=True
    )
    assert found["ciphertexts"] >= 1


@pytest.mark.parametrize("name", ["breast_cancer", "tabular/logistic"])
def test_examples_are_explained(repository: Path, name: str) -> None:
    found = check_study(read_terms(repository / "examples" / f"{name}.yaml")).model_dump(by_alias=True)
    assert found["privacy"]["private"]


@pytest.mark.parametrize("runs", [1, 2, 5])
def test_runs_together_by_another_accountant(runs: int) -> None:
    terms = small_terms(evaluation={"rounds": [1, 2], "epsilon": 1.0})
    found = check_study(terms, runs).model_dump(by_alias=True)["privacy"]
    orders = range(2, 257)
    training, totals = RdpAccountant(orders), RdpAccountant(orders)
    step = PoissonSampledDpEvent(0.5, GaussianDpEvent(found["noise_multiplier"]))
    training.compose(step, runs * terms.training.rounds * terms.training.lots)
    noise = compute_evaluation_noise(terms)
    assert noise is not None
    totals.compose(GaussianDpEvent(noise), runs * 2)
    assert found["runs"]["runs"] == runs
    assert found["runs"]["training"] == pytest.approx(training.get_epsilon(1e-3), rel=1e-6)
    assert found["runs"]["evaluation"] == pytest.approx(totals.get_epsilon(1e-3), rel=1e-6)


def test_runs_nobody_asked_for_are_not_priced() -> None:
    assert check_study(small_terms()).model_dump(by_alias=True)["privacy"]["runs"] is None
    assert check_study(small_terms(), 3).model_dump(by_alias=True)["privacy"]["runs"]["evaluation"] is None, (
        "its totals have no noise"
    )


PUBLIC = {"layers.0.weight": (4, 5), "layers.0.bias": (4,), "layers.2.weight": (1, 4), "layers.2.bias": (1,)}
"""Of an mlp with one hidden layer of 4 on the small study's inputs."""


def weights(folder: Path) -> Path:
    file = folder / "public.safetensors"
    save_file({name: np.ones(shape, dtype=np.float32) for name, shape in PUBLIC.items()}, file)
    return file


def with_choices(file: Path, **choices: object) -> Terms:
    start = {"start": compute_sha256(file.read_bytes())} if set(choices) - {"personal"} else {}
    return small_terms(model={"name": "mlp", "options": {"hidden": [4]}, **start, **choices})


@pytest.mark.parametrize(
    ("choices", "figures"),
    [
        ({}, (29, 0, 0)),
        ({"trained": ["head"]}, (5, 0, 24)),
        ({"frozen": ["layers.0"]}, (5, 0, 24)),
        ({"personal": ["head"]}, (24, 5, 0)),
        ({"adapters": {"rank": 2}, "trained": ["head"]}, (5 + 2 * (4 + 5), 0, 24)),
        ({"adapters": {"rank": 1}, "personal": ["head"]}, (9, 5, 24)),
    ],
)
def test_what_is_trained_is_what_is_moved(
    tmp_path: Path, choices: dict[str, object], figures: tuple[int, int, int]
) -> None:
    terms = with_choices(weights(tmp_path), **choices)
    found = check_study(terms).model_dump(by_alias=True)
    assert (found["parameters"], found["personal"], found["frozen"]) == figures
    assert found["float32_bytes"] == 4 * figures[0]
    assert count_parameters(terms) == figures[0]


def test_fewer_trained_parameters_are_fewer_bytes(tmp_path: Path) -> None:
    wide = {"name": "mlp", "options": {"hidden": [4000]}}
    whole = check_study(small_terms(model=wide)).model_dump(by_alias=True)
    head = check_study(small_terms(model={**wide, "start": "0" * 64, "trained": ["head"]})).model_dump(
        by_alias=True
    )
    assert head["parameters"] == 4001
    assert head["bytes_up"] * 3 < whole["bytes_up"]
    assert head["privacy"]["noise_multiplier"] == whole["privacy"]["noise_multiplier"], "on fewer coordinates"


def test_layer_that_the_model_has_not_is_the_authors_mistake(tmp_path: Path) -> None:
    with pytest.raises(
        TermsError, match=r"model\.trained: the model has no layer 'body' .*; its layers: layers\.0 "
    ):
        check_study(with_choices(weights(tmp_path), trained=["body"])).model_dump(by_alias=True)


def test_weights_that_fit_are_accepted_and_others_refused_by_name(tmp_path: Path) -> None:
    file = weights(tmp_path)
    require_weights(with_choices(file, trained=["head"]), file)
    with pytest.raises(TermsError, match=r"public\.safetensors: the study 'small' begins with no public weights"):
        require_weights(small_terms(), file)
    other = with_choices(file, trained=["head"])
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(TermsError, match=r"public\.safetensors: this is not the file that the terms name"):
        require_weights(other, file)


def whole_sites(**privacy: Any) -> Terms:
    return small_terms(
        training={"rounds": 50, "weights": "uniform"},
        privacy={"unit": "site", "placement": "distributed", "delta": 1e-5, **privacy},
        cohort={"participation": 0.5, "maximum": 20},
        secure_aggregation={"value_range": 200.0, "bits": 20},
    )


def test_whole_sites_are_explained_to_patient_site_and_outsider() -> None:
    """The site's own epsilon by dp-accounting, the noise of the mean from its definition."""
    found = check_study(whole_sites()).model_dump(by_alias=True)["privacy"]
    shares, noise = found["shares"], found["noise_multiplier"]
    accountant = RdpAccountant(range(2, 257))
    accountant.compose(PoissonSampledDpEvent(0.5, GaussianDpEvent(noise)), 50)
    assert shares["sites"]["epsilon_of_site"] == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-6)
    assert shares["sites"]["epsilon_of_site"] < shares["epsilon_outside"] < found["epsilon"] == 3
    assert 2.99 < site_epsilon(noise) <= 3
    assert (found["steps"], found["unit"]) == (50, "site")
    of_mean = noise * shares["inflation"] * math.sqrt(20 / 19) / (0.5 * 20)
    assert shares["sites"]["noise_of_mean"] == pytest.approx(of_mean, rel=1e-3)
    assert shares["sites"]["noise_to_signal_of_round"] == pytest.approx(of_mean * math.sqrt(6), rel=1e-3)
    assert shares["sites"]["noise_to_signal"] == pytest.approx(of_mean * math.sqrt(6 / 50), rel=1e-3)
    assert shares["problem"] is None


def site_epsilon(noise: float) -> float:
    """Of 50 rounds in which half of the sites count, from the formulas of docs/ledger.md."""
    event = {"kind": "site-updates", "noise_multiplier": noise, "participation": 0.5, "steps": 50}
    room = [charge(event, order) / 1e9 - limit(3, 1e-5, order) / 1e9 for order in ORDERS]
    return 3 + min(room)


def test_answer_about_the_norm_is_sealed_and_noised_beside_the_update() -> None:
    plain, adaptive = (
        check_study(whole_sites(**more)).model_dump(by_alias=True)
        for more in ({}, {"adaptive_clipping": {"share": 1.0}})
    )
    assert adaptive["parameters"] == plain["parameters"]
    assert adaptive["privacy"]["noise_multiplier"] == plain["privacy"]["noise_multiplier"]
    louder = (
        adaptive["privacy"]["shares"]["sites"]["noise_of_mean"]
        / plain["privacy"]["shares"]["sites"]["noise_of_mean"]
    )
    assert louder == pytest.approx(math.sqrt(1.25), rel=1e-3)


def test_range_that_whole_sites_need_is_told() -> None:
    terms = whole_sites().model_copy(
        update={"secure_aggregation": whole_sites().secure_aggregation.model_copy(update={"value_range": 40.0})}
    )
    assert (
        "the noise and the sum need" in check_study(terms).model_dump(by_alias=True)["privacy"]["shares"]["problem"]
    )


def test_study_whose_launch_no_site_would_take_is_a_problem_before_it_is_launched() -> None:
    """The vocabulary of one text column has more bytes than a message."""
    words = [f"{number:05}{'w' * 180}" for number in range(12_000)]
    features = [{"kind": "text", "name": "letter", "words": words}]
    data = {**small_terms().data.model_dump(mode="json"), "features": features}
    (problem,) = check_study(small_terms(data=data)).problems
    assert "and no site takes more than 2097152; name fewer columns, or fewer words" in problem
    assert "about 2" in problem  # 12,000 words of 185 letters and 3 signs of JSON are 2,256,000 bytes
    fewer = {**data, "features": [{**features[0], "words": words[:1000]}]}
    assert check_study(small_terms(data=fewer)).problems == ()
