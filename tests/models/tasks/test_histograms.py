from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from models.tasks.histograms import (
    clip_counts,
    compute_auroc,
    compute_average_precision,
    compute_mean,
    place_in_bins,
)

histograms = st.integers(1, 9).flatmap(
    lambda bins: st.tuples(*[st.lists(st.integers(0, 20), min_size=bins, max_size=bins)] * 2)
)


@given(histograms)
def test_figures_of_any_histogram_match_scikit_learn_on_bins(pair: tuple[list[int], list[int]]) -> None:
    negatives, positives = pair
    bins = list(range(len(negatives)))
    labels = [0] * sum(negatives) + [1] * sum(positives)
    scores = [*np.repeat(bins, negatives), *np.repeat(bins, positives)]
    auroc = compute_auroc(np.array(negatives), np.array(positives))
    if 0 < sum(labels) < len(labels):
        assert auroc is not None
        assert float(auroc) == pytest.approx(roc_auc_score(labels, scores))
    else:
        assert auroc is None
    precision = compute_average_precision(np.array(negatives), np.array(positives))
    if sum(labels):
        assert precision == pytest.approx(average_precision_score(labels, scores))
    else:
        assert precision is None


def test_auroc_of_counts_beyond_64_bits_is_exact() -> None:
    many = 1 << 40
    auroc = compute_auroc(np.array([many, 1]), np.array([1, many]))
    assert auroc is not None
    # doubled pairs: many * many in order, twice many tied, one in the wrong order
    assert auroc == Fraction(2 * many * many + 2 * many, 2 * (many + 1) ** 2)


@pytest.mark.parametrize(
    ("score", "place"),
    [(0.0, 0), (0.25, 1), (0.999, 3), (1.0, 3), (np.nan, 0), (np.inf, 3), (-np.inf, 0), (-1.0, 0), (1e300, 3)],
)
def test_every_score_has_a_bin(score: float, place: int) -> None:
    assert place_in_bins(np.array([score]), 4).tolist() == [place]


def test_clip_counts_of_another_number_of_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 3 counts, got 2"):
        clip_counts([1, 2], 3)


def test_mean_of_nothing_defined_is_none() -> None:
    assert compute_mean([None, None]) is None
