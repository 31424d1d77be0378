"""Histograms: into which bin a score falls, and the figures of two classes of patients in the same bins.

Rules:

* bin b of n holds scores in [b/n, (b+1)/n). The last one also holds 1 and more, the first one also what is below 0
  or not a number: every score has its bin;
* counts are clipped at zero first, because noise may have made a cell negative;
* two patients in one bin are a tie: figures are those of the binned scores;
* a figure by which models are compared is an exact fraction of whole numbers;
* a figure is None if it needs a class that has no patients.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_INT64: Final = 1 << 63


def place_in_bins(scores: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Find the bin of each of ``scores``, of any shape; same shape."""
    # an attacker who steers the model can choose the patients whose score is NaN: it must be counted, not fail
    finite = np.clip(np.nan_to_num(scores, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    return np.minimum((finite * bins).astype(np.int64), bins - 1)


def clip_counts(counts: Sequence[int], cells: int) -> NDArray[np.int64]:
    """Return ``counts`` (cells,) clipped at zero.

    Raises:
        ValueError: there are not ``cells`` of them.
    """
    if len(counts) != cells:
        raise ValueError(f"expected {cells} counts, got {len(counts)}")
    return np.clip(np.array(counts, dtype=np.int64), 0, None)


def estimate_patients(counts: Sequence[int], histograms: int) -> int:
    """Return the mean total of so many histograms, to each of which every patient adds one, rounded; at least 0.

    Counts are not clipped: noise cancels in their sum, and clipping would add to it.
    """
    return max(0, round(Fraction(sum(int(count) for count in counts), histograms)))


def compute_auroc(negatives: NDArray[Any], positives: NDArray[Any]) -> Fraction | None:
    """Compute the exact probability that a positive patient is in a higher bin than a negative one.

    A tie counts half (Mann and Whitney 1947). None if a class has no patient.

    Args:
        negatives: patients of one class by bin, none negative; (bins,).
        positives: patients of the other; (bins,).
    """
    pairs = int(negatives.sum()) * int(positives.sum())
    if not pairs:
        return None
    if 2 * pairs >= _INT64:  # every number below is at most twice the pairs
        negatives, positives = negatives.astype(object), positives.astype(object)
    below = np.cumsum(negatives) - negatives  # negatives in lower bins
    # doubled: a pair counts 2 if the negative is in a lower bin, 1 if in the same bin
    return Fraction(int((positives * (2 * below + negatives)).sum()), 2 * pairs)


def compute_average_precision(negatives: NDArray[Any], positives: NDArray[Any]) -> float | None:
    """Compute the precision from each bin on, averaged over the positive patients; a bin is one threshold.

    Args:
        negatives: patients of one class by bin, none negative; (bins,).
        positives: patients of the other; (bins,).
    """
    found, above = np.cumsum(positives[::-1]), np.cumsum((negatives + positives)[::-1])  # from the top bin down
    if not found[-1]:
        return None
    return float((positives[::-1] * (found / np.maximum(above, 1))).sum()) / int(found[-1])


def compute_mean(values: Iterable[Fraction | None]) -> Fraction | None:
    """Compute the exact mean of those ``values`` that are defined; None if none is."""
    defined = [each for each in values if each is not None]
    return sum(defined, Fraction(0)) / len(defined) if defined else None


def to_figure(value: Fraction | None) -> float | None:
    """Return the nearest float of an exact figure."""
    return None if value is None else float(value)
