"""Figures of truth and prediction from a histogram of both: for tasks that predict one number.

Rules:

* truth and prediction are divided into as many bins of equal width over the target's public range, and clipped to
  it; what is not a number is in the first bin;
* figures take the middle of a bin for its values. A mean absolute error differs from that of the clipped values
  by at most a bin's width; R^2 and correlations are those of the middles;
* two predictions in one bin are a tie and count half; two truths in one bin are no pair;
* R^2 and concordance are exact fractions of whole numbers, so that every site chooses the same model by them;
* a figure is None if it is not defined: nobody is counted, or all truths (for a correlation, or all predictions)
  are in one bin.

Sources: Harrell et al. 1982, Evaluating the yield of medical tests, for the concordance; Roy et al. 2009, On two
novel parameters for validation of predictive QSAR models, for r_m^2.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.tasks.group_counts import Counts
from models.tasks.histograms import clip_counts, compute_average_precision, place_in_bins

Scores = NDArray[np.float64]


def count_two_way(truths: Scores, predictions: Scores, bins: int) -> NDArray[np.int64]:
    """Count records by truth and prediction, both (records,) in shares of the range; (bins * bins,)."""
    cells = place_in_bins(truths, bins) * bins + place_in_bins(predictions, bins)
    return np.bincount(cells, minlength=bins * bins).astype(np.int64)


class TwoWayCounts:
    """A histogram of truth bin x prediction bin, and its figures."""

    def __init__(self, counts: Sequence[int], bins: int, low: float, high: float) -> None:
        """Clip ``counts`` (bins * bins,) at zero; ``low`` and ``high`` are the range, in the target's own units.

        Raises:
            ValueError: the counts are not as many.
        """
        self.cells: Counts = clip_counts(counts, bins * bins).astype(object).reshape(bins, bins)
        self._low, self._width, self._bins = low, (high - low) / bins, bins
        self._patients = int(self.cells.sum())

    def compute_r2(self) -> Fraction | None:
        """Compute 1 - the sum of squared errors over that of the truths' deviations from their mean."""
        spread = self._sums.truth_spread
        return None if spread == 0 else 1 - Fraction(self._patients * self._sums.squared_errors, spread)

    def compute_concordance(self) -> Fraction | None:
        """Compute the share of pairs of different truths with predictions in the same order; a tie counts half."""
        rows = self.cells.sum(axis=1)  # (truths,)
        below = np.cumsum(self.cells, axis=0) - self.cells  # smaller truths by prediction, (truths, predictions)
        pairs = int((rows * below.sum(axis=1)).sum())
        if not pairs:
            return None
        lower = np.cumsum(below, axis=1) - below  # of these, with a lower prediction
        return Fraction(int((self.cells * (2 * lower + below)).sum()), 2 * pairs)

    def compute_mean_squared_error(self) -> float | None:
        """Compute the mean squared error, in squared units of the target."""
        return self._average(self._sums.squared_errors, self._width**2)

    def compute_mean_absolute_error(self) -> float | None:
        """Compute the mean absolute error, in units of the target."""
        return self._average(self._sums.absolute_errors, self._width)

    def compute_pearson(self) -> float | None:
        """Compute Pearson's correlation of truth and prediction."""
        sums = self._sums
        if sums.truth_spread == 0 or sums.prediction_spread == 0:
            return None
        # whole numbers under the roots: the quotient is at most 1 up to rounding
        root = math.sqrt(sums.truth_spread) * math.sqrt(sums.prediction_spread)
        return min(1.0, max(-1.0, sums.together / root))

    def compute_rm2(self) -> float | None:
        """Compute r_m^2 = r^2 (1 - sqrt(|r^2 - r_0^2|)); r_0^2 is that of the line through the origin.

        The slope of the line is the one that fits truths to predictions best, and r_0^2 is 1 - the sum of its
        squared errors over that of the truths' deviations from their mean.
        """
        pearson = self.compute_pearson()
        if pearson is None:
            return None
        counts = self.cells.astype(np.float64)
        middles = self._low + (np.arange(self._bins) + 0.5) * self._width
        truths, predictions = middles[:, None], middles[None, :]
        squares = float((counts * predictions**2).sum())
        slope = float((counts * truths * predictions).sum()) / squares if squares else 0.0
        spread = self._sums.truth_spread / self._patients * self._width**2
        r2, r0_2 = pearson**2, 1 - float((counts * (truths - slope * predictions) ** 2).sum()) / spread
        return r2 * (1 - math.sqrt(abs(r2 - r0_2)))

    def compute_average_precision(self, first_bin: int) -> float | None:
        """Compute the area under precision over recall, in steps, of finding truths from ``first_bin`` on."""
        return compute_average_precision(self.cells[:first_bin].sum(axis=0), self.cells[first_bin:].sum(axis=0))

    def _average(self, total: int, unit: float) -> float | None:
        return total / self._patients * unit if self._patients else None

    @cached_property
    def _sums(self) -> "_Sums":
        return _Sums(self.cells)


class _Sums:
    """Sums over the cells, in bins; a spread is the sum of squared deviations from the mean, times patients."""

    def __init__(self, cells: Counts) -> None:
        bins = np.arange(len(cells)).astype(object)
        truths, predictions = cells.sum(axis=1), cells.sum(axis=0)
        patients, errors = int(cells.sum()), bins[:, None] - bins[None, :]
        truth, prediction = int((truths * bins).sum()), int((predictions * bins).sum())
        self.squared_errors = int((cells * errors**2).sum())
        self.absolute_errors = int((cells * abs(errors)).sum())
        self.truth_spread = patients * int((truths * bins**2).sum()) - truth**2
        self.prediction_spread = patients * int((predictions * bins**2).sum()) - prediction**2
        self.together = patients * int((cells * bins[:, None] * bins[None, :]).sum()) - truth * prediction
