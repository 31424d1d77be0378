from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score, f1_score, roc_auc_score

from models.tasks.multiclass import MulticlassTask
from models.tasks.registry import make_task
from privacy.study.tasks.multiclass import ClassLoss, MulticlassTerms
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

CLASSES = 4
CONTRACT = make_contract([AN_INPUT], [{"type": "id", "name": "label", "values": CLASSES}])
TASK = MulticlassTask(CLASSES)


def draw_records(seed: int, records: int = 80) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw outputs that say something about the truth, (records, classes), and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, records)
    outputs = rng.normal(size=(records, CLASSES)) + 1.5 * (truth[:, None] == np.arange(CLASSES))
    return outputs, truth


@pytest.mark.parametrize("bins", [2, 7, 100, 10_000])
def test_figures_match_scikit_learn_on_binned_scores(bins: int) -> None:
    outputs, truth = draw_records(bins)
    counts = TASK.count_cells(torch.from_numpy(outputs), {"label": truth}, bins).tolist()
    scores, predicted = softmax(outputs, axis=1), outputs.argmax(axis=1)
    aurocs = [roc_auc_score(truth == each, np.floor(scores[:, each] * bins)) for each in range(CLASSES)]
    assert TASK.compute_figures(counts, bins) == pytest.approx(
        {
            "macro_auroc": np.mean(aurocs),
            "accuracy": accuracy_score(truth, predicted),
            "balanced_accuracy": balanced_accuracy_score(truth, predicted),
            "macro_f1": f1_score(truth, predicted, average="macro"),
            "kappa": cohen_kappa_score(truth, predicted),
            **{f"auroc_{each}": auroc for each, auroc in enumerate(aurocs)},
        }
    )
    assert TASK.count_patients(counts, bins) == len(truth)
    rank = TASK.compute_rank(counts, bins)
    assert rank is not None
    assert float(rank) == TASK.compute_figures(counts, bins)["macro_auroc"]
    assert [kind.name for kind in TASK.figures] == list(TASK.compute_figures(counts, bins))


@pytest.mark.parametrize("bins", [10, 50])
def test_auroc_of_raw_scores_is_within_half_the_tied_pairs(bins: int) -> None:
    outputs, truth = draw_records(3)
    counts = TASK.count_cells(torch.from_numpy(outputs), {"label": truth}, bins).tolist()
    scores = softmax(outputs, axis=1)[:, 1]
    own, rest = scores[truth == 1], scores[truth != 1]
    tied = (np.floor(own * bins)[:, None] == np.floor(rest * bins)).mean()
    got = TASK.compute_figures(counts, bins)["auroc_1"]
    assert got is not None
    assert abs(got - roc_auc_score(truth == 1, scores)) <= tied / 2 + 1e-12


def test_classes_without_patients_are_left_out_of_means() -> None:
    truth = np.array([0, 0, 1, 1])  # nobody of classes 2 and 3, though 2 is predicted
    outputs = np.array([[3.0, 0, 0, 0], [0, 3, 0, 0], [0, 3, 0, 0], [0, 0, 3, 0]])
    counts = TASK.count_cells(torch.from_numpy(outputs), {"label": truth}, 10).tolist()
    figures = TASK.compute_figures(counts, 10)
    aurocs = [figures["auroc_0"], figures["auroc_1"]]
    assert None not in aurocs
    assert (figures["auroc_2"], figures["auroc_3"]) == (None, None)
    assert figures["macro_auroc"] == pytest.approx(sum(each for each in aurocs if each is not None) / 2)
    assert figures["balanced_accuracy"] == pytest.approx(0.5)
    predicted = outputs.argmax(axis=1)
    assert figures["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))


def test_negative_counts_are_zero_and_no_patients_give_no_figures() -> None:
    outputs, truth = draw_records(1)
    counts = TASK.count_cells(torch.from_numpy(outputs), {"label": truth}, 4)
    noised = np.where(counts == 0, -3, counts)
    assert TASK.compute_figures(noised.tolist(), 4) == TASK.compute_figures(counts.tolist(), 4)
    nothing = TASK.compute_figures([-1] * len(counts), 4)
    assert set(nothing.values()) == {None}
    assert TASK.compute_rank([-1] * len(counts), 4) is None
    assert TASK.count_patients([-1] * len(counts), 4) == 0


def test_many_classes_have_no_figure_each() -> None:
    assert [kind.name for kind in MulticlassTask(21).figures][-1] == "kappa"
    assert [kind.name for kind in MulticlassTask(20).figures][-1] == "auroc_19"
    assert list(MulticlassTask(21).compute_figures([1] * (21 * 4 + 441), 2))[-1] == "kappa"


def test_another_number_of_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 32 counts, got 3"):
        TASK.compute_figures([1, 2, 3], 2)


@given(
    arrays(np.float32, (3, CLASSES), elements=any_float),
    arrays(np.int64, (3,), elements=st.integers(0, CLASSES - 1)),
    st.integers(2, 12),
)
def test_one_record_adds_one_to_one_cell_of_each_group(
    outputs: NDArray[Any], truth: NDArray[Any], bins: int
) -> None:
    check_contribution(MulticlassTerms(kind="multiclass"), CONTRACT, outputs, {"label": truth}, bins)


def test_a_record_that_is_no_number_has_fixed_cells() -> None:
    outputs = torch.tensor([[0.0, torch.nan, 5.0, 0.0], [torch.inf, 0.0, 0.0, 0.0]])
    for place in range(2):
        counts = TASK.count_cells(outputs[place : place + 1], {"label": np.array([2])}, 3)
        expected = [0, 0, 0] * 8
        for each in range(CLASSES):
            expected[(2 * each + (each == 2)) * 3] = 1
        confusion = [0] * 16
        confusion[2 * CLASSES] = 1
        assert counts.tolist() == expected + confusion


def test_no_records_count_nothing() -> None:
    counts = TASK.count_cells(torch.zeros(0, CLASSES), {"label": np.zeros(0, dtype=np.int64)}, 5)
    assert counts.tolist() == [0] * (2 * 5 * CLASSES + CLASSES**2)


@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 0.5, 4.0)])
def test_losses_are_weighted_cross_entropy_of_each_record_alone(weights: tuple[float, ...]) -> None:
    outputs, truth = draw_records(5, records=6)
    task = make_task(MulticlassTerms(kind="multiclass", class_weights=weights), CONTRACT)
    got = task.compute_losses(torch.from_numpy(outputs), to_tensors({"label": truth}))
    weight = np.array(weights or (1.0,) * CLASSES)[truth]
    assert got.numpy() == pytest.approx(-weight * log_softmax(outputs, axis=1)[np.arange(6), truth])
    check_losses_of_each_record_alone(task, torch.from_numpy(outputs).float(), {"label": truth})
    check_losses_of_short_outputs_are_wide(task, torch.from_numpy(outputs).float(), {"label": truth})


@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 0.5, 4.0)])
def test_margin_losses_are_those_of_the_paper_s_formula(weights: tuple[float, ...]) -> None:
    outputs, truth = draw_records(6, records=40)
    task = make_task(MulticlassTerms(kind="multiclass", class_weights=weights, loss=ClassLoss.MARGIN), CONTRACT)
    got = task.compute_losses(torch.from_numpy(outputs), to_tensors({"label": truth}))
    for loss, logits, own in zip(got.tolist(), outputs, truth, strict=True):
        lengths = 1 / (1 + np.exp(-logits))
        wanted = sum(
            max(0.0, 0.9 - length) ** 2 if each == own else 0.5 * max(0.0, length - 0.1) ** 2
            for each, length in enumerate(lengths)
        )
        assert loss == pytest.approx((weights[own] if weights else 1.0) * wanted)
    check_losses_of_each_record_alone(task, torch.from_numpy(outputs).float(), {"label": truth})
    check_losses_of_short_outputs_are_wide(task, torch.from_numpy(outputs).float(), {"label": truth})
    check_gradient_is_finite(task, 1e30 * torch.from_numpy(outputs).float(), {"label": truth})


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_gradient_of_extreme_logits_is_finite(size: float) -> None:
    outputs = size * torch.tensor([[1.0, -1, 1, -1], [-1, -1, -1, 1], [0, 0, 1, 0]])
    check_gradient_is_finite(TASK, outputs, {"label": np.array([0, 1, 1])})


def test_described_outputs_are_probabilities_and_the_class() -> None:
    outputs, _ = draw_records(9, records=5)
    said = TASK.describe_outputs(torch.from_numpy(outputs))
    assert said["probabilities"] == pytest.approx(softmax(outputs, axis=1))
    assert said["class"].tolist() == outputs.argmax(axis=1).tolist()
