"""What ``consilium study check`` says, against other ways to compute it."""

from pathlib import Path

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant

from models.catalogue import build
from privacy.errors import BudgetError, TermsError
from privacy.sealing.layout import Layout
from privacy.study import read_terms
from server.explain import count_parameters, explain
from tests.client.small_study import small_terms, without_privacy


def test_parameters_are_those_of_the_built_model() -> None:
    terms = small_terms(model={"name": "mlp", "options": {"hidden": [4, 3]}})
    built = build("mlp", {"hidden": [4, 3]}, terms.data.inputs)
    assert count_parameters(terms) == sum(parameter.numel() for parameter in built.parameters())
    assert count_parameters(small_terms()) == small_terms().data.inputs + 1


@pytest.mark.parametrize(
    "model", [{"name": "transformer"}, {"name": "mlp"}, {"name": "logistic", "options": {"x": 1}}]
)
def test_model_that_the_catalogue_does_not_have_is_the_authors_mistake(model: dict[str, object]) -> None:
    with pytest.raises(TermsError, match="model"):
        explain(small_terms(model={"options": {}, **model}))


def test_figures_are_the_terms_own() -> None:
    terms = small_terms()
    found = explain(terms)
    assert (found["study"], found["digest"]) == ("small", terms.digest)
    assert (found["rounds"], found["exchanges"]) == (2, 3)
    assert found["float32_bytes"] == 4 * found["parameters"]


def test_bytes_are_those_of_the_sealed_vector() -> None:
    found = explain(small_terms())
    layout = Layout(found["parameters"], 0, 16, 8)
    assert found["ciphertexts"] == layout.parts == 1
    assert found["bytes_up"] == layout.sealed_bytes
    assert found["bytes_down"] == layout.aggregate_bytes


def test_noise_keeps_the_promise_by_another_accountant() -> None:
    """dp-accounting, over the same integer orders: at most the epsilon asked, and hardly less."""
    terms = small_terms()
    found = explain(terms)["privacy"]
    orders = range(2, 257)
    whole, first = RdpAccountant(orders), RdpAccountant(orders)
    step = PoissonSampledDpEvent(0.5, GaussianDpEvent(found["noise_multiplier"]))
    whole.compose(step, terms.training.steps)
    first.compose(step, terms.training.local_steps)
    assert whole.get_epsilon(1e-3) == pytest.approx(3, abs=1e-3)
    assert whole.get_epsilon(1e-3) <= 3 + 1e-9
    assert found["epsilon_after_first_round"] == pytest.approx(first.get_epsilon(1e-3), rel=1e-6)
    assert (found["steps"], found["smallest_population"]) == (6, 1000)


def test_study_without_privacy_says_so() -> None:
    assert explain(without_privacy())["privacy"] == {"private": False}


def test_test_patients_are_protected_when_totals_are_noised_or_none_are_taken() -> None:
    assert not explain(small_terms())["privacy"]["test_patients_protected"]
    assert explain(small_terms(evaluation={"epsilon": 1.0}))["privacy"]["test_patients_protected"]
    assert explain(small_terms(evaluation={"rounds": []}))["privacy"]["test_patients_protected"]


def test_epsilon_that_no_noise_reaches_is_refused() -> None:
    with pytest.raises(BudgetError, match=r"no noise reaches epsilon 0\.001"):
        explain(small_terms(privacy={"epsilon": 0.001, "delta": 1e-9}))


@pytest.mark.parametrize(("bits", "maximum"), [(8, 3), (16, 8), (16, 64), (24, 64)])
def test_every_sealing_that_terms_allow_is_explained(bits: int, maximum: int) -> None:
    found = explain(small_terms(sealing={"bits": bits}, cohort={"maximum": maximum}))
    assert found["ciphertexts"] >= 1


@pytest.mark.parametrize("name", ["breast_cancer", "heart"])
def test_examples_are_explained(repository: Path, name: str) -> None:
    found = explain(read_terms(repository / "examples" / f"{name}.yaml"))
    assert found["privacy"]["private"]
