from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error

from models.tasks.ordinal import OrdinalTask
from models.tasks.registry import make_task
from privacy.study.tasks.ordinal import OrdinalTerms
from tests.models.tasks.contributions import (
    AN_INPUT,
    any_float,
    check_contribution,
    check_gradient_is_finite,
    check_losses_of_each_record_alone,
    check_losses_of_short_outputs_are_wide,
    make_contract,
    to_tensors,
)

CLASSES = 5
CONTRACT = make_contract([AN_INPUT], [{"type": "id", "name": "label", "values": CLASSES}])
TASK = OrdinalTask(CLASSES)
BINS = 10


def draw_records(seed: int, records: int = 60) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, records)
    return rng.normal(size=(records, CLASSES - 1)) + (truth[:, None] - np.arange(CLASSES - 1) - 0.5), truth


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_figures_match_scikit_learn(seed: int) -> None:
    outputs, truth = draw_records(seed)
    counts = TASK.count_cells(torch.from_numpy(outputs), {"label": truth}, BINS).tolist()
    predicted = [sum(logit >= 0 for logit in record) for record in outputs.tolist()]
    near = [abs(a - b) <= 1 for a, b in zip(truth.tolist(), predicted, strict=True)]
    assert TASK.compute_figures(counts, BINS) == pytest.approx(
        {
            "quadratic_kappa": cohen_kappa_score(truth, predicted, weights="quadratic"),
            "accuracy": accuracy_score(truth, predicted),
            "mean_absolute_error": mean_absolute_error(truth, predicted),
            "within_one": sum(near) / len(near),
        }
    )
    rank = TASK.compute_rank(counts, BINS)
    assert rank is not None
    assert float(rank) == TASK.compute_figures(counts, BINS)["quadratic_kappa"]
    assert TASK.count_patients(counts, BINS) == len(truth)
    assert [kind.name for kind in TASK.figures] == list(TASK.compute_figures(counts, BINS))


def test_kappa_of_one_class_alone_is_not_defined() -> None:
    only_class_2 = [0] * 12 + [7] + [0] * 12
    figures = TASK.compute_figures(only_class_2, BINS)
    assert figures == {"quadratic_kappa": None, "accuracy": 1, "mean_absolute_error": 0, "within_one": 1}
    assert TASK.compute_rank(only_class_2, BINS) is None


def test_kappa_of_large_counts_is_exact() -> None:
    outputs, truth = draw_records(4)
    counts = TASK.count_cells(torch.from_numpy(outputs), {"label": truth}, BINS)
    assert TASK.compute_rank((counts << 34).tolist(), BINS) == TASK.compute_rank(counts.tolist(), BINS)


def test_negative_counts_are_zero_and_no_patients_give_no_figures() -> None:
    outputs, truth = draw_records(1)
    counts = TASK.count_cells(torch.from_numpy(outputs), {"label": truth}, BINS)
    noised = np.where(counts == 0, -3, counts).tolist()
    assert TASK.compute_figures(noised, BINS) == TASK.compute_figures(counts.tolist(), BINS)
    assert set(TASK.compute_figures([-1] * 25, BINS).values()) == {None}
    assert TASK.count_patients([-1] * 25, BINS) == 0


def test_another_number_of_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 25 counts, got 3"):
        TASK.compute_rank([1, 2, 3], BINS)


@given(
    arrays(np.float32, (3, CLASSES - 1), elements=any_float),
    arrays(np.int64, (3,), elements=st.integers(0, CLASSES - 1)),
    st.integers(2, 12),
)
def test_one_record_adds_one_to_one_cell(outputs: NDArray[Any], truth: NDArray[Any], bins: int) -> None:
    check_contribution(OrdinalTerms(kind="ordinal"), CONTRACT, outputs, {"label": truth}, bins)


def test_a_record_that_is_no_number_is_predicted_as_the_lowest_class() -> None:
    outputs = torch.tensor([[5.0, 5.0, torch.nan, 5.0]])
    counts = TASK.count_cells(outputs, {"label": np.array([3])}, BINS)
    assert np.flatnonzero(counts).tolist() == [3 * CLASSES]


def test_losses_are_summed_cross_entropies_of_each_record_alone() -> None:
    outputs, truth = draw_records(5, records=6)
    task = make_task(OrdinalTerms(kind="ordinal"), CONTRACT)
    got = task.compute_losses(torch.from_numpy(outputs), to_tensors({"label": truth}))
    expected = [
        -sum(log_expit(logit if label > k else -logit) for k, logit in enumerate(record))
        for record, label in zip(outputs, truth, strict=True)
    ]
    assert got.numpy() == pytest.approx(np.array(expected))
    check_losses_of_each_record_alone(task, torch.from_numpy(outputs).float(), {"label": truth})
    check_losses_of_short_outputs_are_wide(task, torch.from_numpy(outputs).float(), {"label": truth})


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_gradient_of_extreme_logits_is_finite(size: float) -> None:
    outputs = size * torch.tensor([[1.0, -1, 1, -1], [-1, -1, -1, 1]])
    check_gradient_is_finite(TASK, outputs, {"label": np.array([0, 4])})


def test_described_outputs_are_the_probabilities_above_each_class() -> None:
    outputs, _ = draw_records(9, records=5)
    said = TASK.describe_outputs(torch.from_numpy(outputs))
    assert said["above"] == pytest.approx(expit(outputs))
    assert said["class"].tolist() == (outputs >= 0).sum(axis=1).tolist()
