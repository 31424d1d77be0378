"""The binary task against scikit-learn, on binned scores exactly and on the scores themselves within a bin."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from models.tasks.binary import BinaryTask
from privacy.study.tasks.binary import BinaryTerms

TASK = BinaryTask()
counts_of_ten_bins = st.lists(st.integers(0, 30), min_size=20, max_size=20)


def count(logits: np.ndarray, labels: np.ndarray, bins: int) -> list[int]:
    counted: list[int] = TASK.count_cells(torch.from_numpy(logits), {"label": labels}, bins).tolist()
    return counted


@given(counts_of_ten_bins)
def test_figures_of_any_histogram_match_scikit_learn_on_binned_scores(counts: list[int]) -> None:
    bins = len(counts) // 2
    labels = np.repeat([0] * bins + [1] * bins, counts)
    place = np.repeat(list(range(bins)) * 2, counts)
    scores = (place + 0.5) / bins
    got = TASK.compute_figures(counts, bins)
    assert TASK.count_patients(counts, bins) == len(labels)
    if 0 < labels.sum() < len(labels):
        assert got["auroc"] == pytest.approx(roc_auc_score(labels, place))
        assert got["average_precision"] == pytest.approx(average_precision_score(labels, place))
        predicted = place >= bins // 2
        assert got["accuracy"] == pytest.approx((predicted == labels).mean())
        assert got["sensitivity"] == pytest.approx(predicted[labels == 1].mean())
        assert got["specificity"] == pytest.approx((~predicted[labels == 0]).mean())
        assert got["brier"] == pytest.approx(brier_score_loss(labels, scores))
        share, mean = calibration_curve(labels, scores, n_bins=bins)
        weights = np.unique(place, return_counts=True)[1] / len(place)
        assert got["calibration"] == pytest.approx((weights * np.abs(share - mean)).sum())


@pytest.mark.parametrize("bins", [10, 100])
def test_figures_of_scores_are_within_a_bin_of_scikit_learns(bins: int) -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random(4000) < 0.3).astype(np.int64)
    logits = rng.normal(-1 + 2 * labels, 1.5)
    scores = 1 / (1 + np.exp(-logits))
    got = TASK.compute_figures(count(logits, labels, bins), bins)
    tied = 1 / bins  # pairs of one bin count half, and there are fewer of them the finer the bins
    assert got["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=tied)
    assert got["average_precision"] == pytest.approx(average_precision_score(labels, scores), abs=2 * tied)
    assert got["accuracy"] == pytest.approx(((scores >= 0.5) == labels).mean())
    assert got["sensitivity"] == pytest.approx((scores >= 0.5)[labels == 1].mean())
    assert got["specificity"] == pytest.approx((scores < 0.5)[labels == 0].mean())
    assert got["brier"] == pytest.approx(brier_score_loss(labels, scores), abs=1 / bins)
    share, mean = calibration_curve(labels, scores, n_bins=bins)
    weights = np.histogram(scores, bins, (0, 1))[0]
    whole = (weights[weights > 0] / len(scores) * np.abs(share - mean)).sum()
    assert got["calibration"] == pytest.approx(whole, abs=0.5 / bins)


def test_figures_of_separated_classes_are_the_best_ones() -> None:
    kinds = {kind.name: kind for kind in TASK.figures}
    got = TASK.compute_figures([5, *[0] * 198, 3], 100)
    assert list(got) == list(kinds)
    assert TASK.count_patients([5, 0, 0, 3], 2) == 8
    for name, value in got.items():
        assert value == pytest.approx(kinds[name].best, abs=0.006)  # scores are taken for the middle of a bin


def test_figures_of_worse_scores_are_worse() -> None:
    better, worse = (
        TASK.compute_figures(counts, 4) for counts in ([6, 2, 1, 0, 0, 1, 2, 6], [2, 3, 2, 2, 2, 2, 3, 2])
    )
    for kind in TASK.figures:
        gain = (better[kind.name] or 0) - (worse[kind.name] or 0)
        assert gain < 0 if kind.lower_is_better else gain > 0


def test_figures_negative_noised_cells_count_as_zero() -> None:
    assert TASK.compute_figures([5, -2, -1, 3], 2) == TASK.compute_figures([5, 0, 0, 3], 2)
    assert TASK.count_patients([5, -2, -1, 3], 2) == 8


def test_figures_class_without_patients_has_no_auroc() -> None:
    got = TASK.compute_figures([5, 1, 0, 0], 2)
    undefined = {name for name, value in got.items() if value is None}
    assert undefined == {"auroc", "average_precision", "sensitivity"}
    assert got["accuracy"] == 5 / 6
    assert TASK.compute_rank([5, 1, 0, 0], 2) is None


def test_figures_nobody_counted_is_none_throughout() -> None:
    assert set(TASK.compute_figures([0, -1, 0, 0], 2).values()) == {None}
    assert TASK.count_patients([0, -1, 0, 0], 2) == 0


@pytest.mark.parametrize("size", [0, 3, 6])
def test_figures_other_shape_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"expected 4 counts, got {size}"):
        TASK.compute_figures([1] * size, 2)


@pytest.mark.parametrize("bins", [0, 3])
def test_figures_bins_without_an_edge_at_the_threshold_are_refused(bins: int) -> None:
    with pytest.raises(ValueError, match=f"an even number of bins, got {bins}"):
        TASK.compute_figures([1] * 2 * bins, bins)


def test_rank_is_the_auroc_as_an_exact_fraction() -> None:
    assert TASK.compute_rank([2, 1, 1, 2], 2) == Fraction(2 * 2 * 2 + 2 * 1 + 1 * 2, 2 * 3 * 3)
    large = [10**17, 0, 10**17 + 1, 0, 0, 1, 0, 0]
    assert TASK.compute_rank(large, 4) == Fraction(10**17, 2 * 10**17 + 1)


# What is counted ------------------------------------------------------------------------------------------


def test_cells_are_class_by_class_and_score_by_score() -> None:
    logits = np.log([0.1 / 0.9, 0.6 / 0.4, 0.3 / 0.7, 0.9 / 0.1])
    assert count(logits, np.array([0, 0, 1, 1]), 4) == [1, 0, 1, 0, 0, 1, 0, 1]


def test_cells_every_patient_is_counted_once_whatever_the_score() -> None:
    logits = np.array([np.nan, np.inf, -np.inf, 0.0])
    assert count(logits, np.array([1, 1, 0, 0]), 2) == [1, 1, 1, 1]


def test_cells_are_those_of_the_terms() -> None:
    terms = BinaryTerms(kind="binary")
    (group,) = terms.list_cell_groups(None, 10)  # type: ignore[arg-type]
    assert (group.cells, group.squared_sensitivity, group.rows) == (20, 1, 2)
    assert len(count(np.zeros(1), np.array([1]), 10)) == group.cells


# The loss -------------------------------------------------------------------------------------------------


def test_losses_are_scikit_learns_log_loss_of_each_record() -> None:
    logits, labels = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([0, 1, 0])
    losses = TASK.compute_losses(logits, {"label": labels})
    for loss, logit, label in zip(losses, logits, labels, strict=True):
        chance = float(torch.sigmoid(logit))
        assert float(loss) == pytest.approx(log_loss([int(label)], [[1 - chance, chance]], labels=[0, 1]), rel=1e-5)


def test_losses_of_positive_labels_weigh_as_the_terms_say() -> None:
    logits, targets = torch.tensor([-2.0, 0.5]), {"dies": torch.tensor([0, 1])}
    plain = BinaryTask("dies").compute_losses(logits, targets)
    weighted = BinaryTask("dies", 3.5).compute_losses(logits, targets)
    torch.testing.assert_close(weighted, plain * torch.tensor([1.0, 3.5]))


def test_outputs_are_described_as_the_probability() -> None:
    found = TASK.describe_outputs(torch.tensor([0.0, 100.0]))
    assert {name: values.tolist() for name, values in found.items()} == {"probability": [0.5, 1.0]}
