import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from models.tasks.binary import compute_metrics

counts_of_ten_bins = st.lists(st.integers(0, 30), min_size=20, max_size=20)


@given(counts_of_ten_bins)
def test_metrics_of_any_histogram_match_scikit_learn_on_binned_scores(counts: list[int]) -> None:
    bins = len(counts) // 2
    labels = np.repeat([0] * bins + [1] * bins, counts)
    scores = np.repeat(list(range(bins)) * 2, counts)
    got = compute_metrics(counts)
    assert got.patients == len(labels)
    if 0 < labels.sum() < len(labels):
        assert got.auroc == pytest.approx(roc_auc_score(labels, scores))
        predicted = scores >= bins // 2
        assert got.accuracy == pytest.approx((predicted == labels).mean())
        assert got.sensitivity == pytest.approx(predicted[labels == 1].mean())
        assert got.specificity == pytest.approx((~predicted[labels == 0]).mean())


def test_metrics_of_separated_classes_are_one() -> None:
    got = compute_metrics([5, 0, 0, 3])
    assert (got.auroc, got.accuracy, got.sensitivity, got.specificity, got.patients) == (1.0, 1.0, 1.0, 1.0, 8)


def test_metrics_negative_noised_cells_count_as_zero() -> None:
    assert compute_metrics([5, -2, -1, 3]) == compute_metrics([5, 0, 0, 3])


def test_metrics_class_without_patients_has_no_auroc() -> None:
    got = compute_metrics([5, 1, 0, 0])
    assert (got.auroc, got.sensitivity, got.accuracy) == (None, None, 5 / 6)


def test_metrics_nobody_counted_is_none_throughout() -> None:
    got = compute_metrics([0, -1, 0, 0])
    assert (got.auroc, got.accuracy, got.sensitivity, got.specificity, got.patients) == (None, None, None, None, 0)


@pytest.mark.parametrize("size", [0, 3, 6])
def test_metrics_other_shape_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"got {size} counts"):
        compute_metrics([1] * size)
