"""The private projection: its sensitivity, its noise, its price, and the subspace that it finds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from client.training.local_steps import begin_stage
from models.errors import ModelError
from models.layers.private_projection import OBJECTIVE, find_components, scale_to_unit_length
from models.tabular.projected_mlp import ProjectedMlp, ProjectedMlpOptions, build
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import SampledGaussian
from privacy.dpsgd import DpSgd, Mechanism
from privacy.dpsgd.records import TensorRecords
from privacy.randomness import KeyStream
from privacy.study.cost import compute_study_noise, make_private_event
from tests.models.generated_studies import generated_site, generated_terms

PATIENTS, FEATURES = 40, 5
KEY = b"a key of 32 bytes, for tests now"


def own_loss(outputs: dict[str, torch.Tensor], _: object) -> torch.Tensor:
    return outputs["own_loss"]


def engine(
    module: ProjectedMlp, values: torch.Tensor, noise: float, norm: float = 1.0
) -> tuple[DpSgd, TensorRecords]:
    module.objective = OBJECTIVE
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name == "projection.covariance.weight")
    records = TensorRecords({"features": values}, {"y": torch.zeros(len(values))}, np.arange(len(values)))
    return DpSgd(module, own_loss, Mechanism(1.0, len(values), norm, noise), KeyStream(KEY)), records


@pytest.fixture
def module() -> ProjectedMlp:
    torch.manual_seed(1)
    return build(ProjectedMlpOptions(kept=2, hidden=3), {"features": FEATURES}, ())


@pytest.fixture
def values() -> torch.Tensor:
    torch.manual_seed(2)
    return torch.randn(PATIENTS, FEATURES) * torch.tensor([9.0, 4.0, 0.5, 0.3, 0.1])


def test_one_step_sums_the_covariance_of_rows_of_length_one(module: ProjectedMlp, values: torch.Tensor) -> None:
    dp, records = engine(module, values, noise=0.0)
    rows = values.numpy() / np.linalg.norm(values.numpy(), axis=1, keepdims=True)
    wanted = -sum(np.outer(row, row) for row in rows)  # a step goes against the gradient
    got = dp.sum_lot(records, np.arange(PATIENTS)).reshape(FEATURES, FEATURES)
    # the engine's clipping keeps a margin of 1e-4
    np.testing.assert_allclose(got.numpy(), wanted, rtol=3e-4, atol=3e-4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=FEATURES, max_size=FEATURES))
def test_a_patient_moves_the_sum_by_at_most_one_whatever_their_record_holds(record: list[float]) -> None:
    module = build(ProjectedMlpOptions(kept=2, hidden=3), {"features": FEATURES}, ())
    others = torch.linspace(-1, 1, 3 * FEATURES).reshape(3, FEATURES)
    dp, records = engine(module, torch.cat([others, torch.tensor([record])]), noise=0.0)
    moved = dp.sum_lot(records, np.arange(4)) - dp.sum_lot(records, np.arange(3))
    assert float(moved.norm()) <= 1 + 1e-6  # rounding of the subtraction


def test_components_are_the_leading_eigenvectors_and_their_sign_is_fixed(values: torch.Tensor) -> None:
    covariance = (values.T @ values / PATIENTS).double()
    found = find_components(covariance, 2).numpy()
    eigenvalues, vectors = np.linalg.eigh(covariance.numpy())
    np.testing.assert_allclose(np.abs(found), np.abs(vectors[:, np.argsort(-eigenvalues)[:2]]), atol=1e-9)
    assert (found[np.abs(found).argmax(0), [0, 1]] > 0).all()
    # an antisymmetric part is noise only
    skew = torch.triu(torch.ones(FEATURES, FEATURES, dtype=torch.float64), 1)
    np.testing.assert_allclose(find_components(covariance + skew - skew.T, 2).numpy(), found, atol=1e-9)


def test_covariance_that_diverged_gives_components_all_the_same() -> None:
    assert torch.isfinite(find_components(torch.full((3, 3), torch.nan), 2)).all()


def test_projection_follows_the_covariance_and_is_not_learned_by_the_task(module: ProjectedMlp) -> None:
    values = torch.randn(4, FEATURES)
    before = module({"features": values})
    with torch.no_grad():
        module.projection.covariance.weight.copy_(torch.diag(torch.arange(FEATURES, dtype=torch.float32)))
    after = module({"features": values})
    assert not torch.allclose(before, after)
    np.testing.assert_allclose(
        after.detach().numpy(), module.layers(values[:, [4, 3]]).reshape(4).detach().numpy(), atol=1e-6
    )
    after.sum().backward()
    assert module.projection.covariance.weight.grad is None


def test_rows_have_length_one_and_zeros_stay_zeros() -> None:
    rows = scale_to_unit_length(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]


def test_projection_is_charged_as_every_other_round() -> None:
    terms = generated_terms("projected-mlp", rounds=3)
    assert [stage.objective for stage in terms.training.stages] == [OBJECTIVE, "task"]
    event = make_private_event(terms, compute_study_noise(terms))
    assert isinstance(event, SampledGaussian)
    assert terms.training.rounds == 4
    assert terms.privacy.epsilon is not None
    assert terms.privacy.delta is not None
    assert 0.95 * terms.privacy.epsilon < epsilon_of([event] * 4, terms.privacy.delta) <= terms.privacy.epsilon


def test_first_stage_trains_the_covariance_alone(tmp_path: Path) -> None:
    terms = generated_terms("projected-mlp", rounds=3)
    site = generated_site(tmp_path, terms)
    for number, wanted in ((1, {"projection.covariance.weight"}), (2, None)):
        with begin_stage(site.module, terms, number):
            trained = {name for name, each in site.module.named_parameters() if each.requires_grad}
        if wanted is not None:
            assert trained == wanted
        else:
            assert "projection.covariance.weight" not in trained
            assert len(trained) == 4


def test_more_components_than_features_are_refused() -> None:
    with pytest.raises(ModelError, match="keeps 6 components of 5 features; write at most 5"):
        build(ProjectedMlpOptions(kept=6), {"features": 5}, ())
