"""Regression: the loss of predicted numbers, and a model's figures from summed histograms.

Rules:

* the figures of one number are those of a histogram of truth x prediction (``two_way_counts.py``), in the target's
  own units; models are compared by R^2;
* several numbers are judged by a record's mean absolute error, in shares of the range and with predictions clipped
  to it; one that is not a number makes it 1. The figure takes the middle of a bin for its errors, so that it is
  off by at most half a bin; models are compared by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from models.task import FigureKind, Values
from models.tasks.group_counts import count_patients_of_histograms, split_counts
from models.tasks.histograms import place_in_bins, to_figure
from models.tasks.number_losses import compute_number_losses, compute_shares, describe_numbers
from models.tasks.two_way_counts import TwoWayCounts, count_two_way
from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Numbers
from privacy.study.tasks.number_target import bound_bins
from privacy.study.tasks.regression import RegressionTerms

if TYPE_CHECKING:
    import torch

FIGURES: Final = (
    FigureKind("r2", "R²"),
    FigureKind("mse", "mean squared error", lower_is_better=True, best=0.0),
    FigureKind("mae", "mean absolute error", lower_is_better=True, best=0.0),
    FigureKind("pearson", "Pearson correlation"),
    FigureKind("concordance", "concordance"),
)
FIGURES_OF_SEVERAL: Final = (FigureKind("mae", "mean absolute error", lower_is_better=True, best=0.0),)


@dataclass(frozen=True)
class RegressionTask:
    """Predict one number, or several: implements :class:`~models.task.Task`.

    A model gives one output for each number, in the scale that models see.
    """

    terms: RegressionTerms
    contract: DataContract

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """The figures, R^2 first; for several numbers the mean absolute error only."""
        return FIGURES_OF_SEVERAL if self._numbers.shape else FIGURES

    @property
    def _numbers(self) -> Numbers:
        return self.terms.find_numbers(self.contract)

    def compute_losses(self, outputs: "torch.Tensor", targets: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Compute the mean loss of each record's numbers; (records,)."""
        return compute_number_losses(outputs, targets[self.terms.target], self.terms)

    def count_cells(
        self, outputs: "torch.Tensor", targets: Mapping[str, NDArray[np.generic]], bins: int
    ) -> NDArray[np.int64]:
        """Count records by truth and prediction, truths outside; several numbers by mean absolute error."""
        truths = compute_shares(targets[self.terms.target], self._numbers)
        predictions = compute_shares(outputs.detach().double().cpu().numpy(), self._numbers)
        if not self._numbers.shape:
            return count_two_way(truths, predictions, bound_bins(bins))
        errors = np.abs(np.clip(predictions, 0.0, 1.0) - np.clip(truths, 0.0, 1.0)).reshape(len(truths), -1)
        mean = np.nan_to_num(errors, nan=1.0).mean(axis=1)  # (records,)
        return np.bincount(place_in_bins(mean, bins), minlength=bins).astype(np.int64)

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        """Return the total of the histogram, at least 0."""
        return count_patients_of_histograms(counts, self.terms.list_cell_groups(self.contract, bins))

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        """Compute the figures of summed counts by name.

        Raises:
            ValueError: the counts are not as many as the task has cells.
        """
        if self._numbers.shape:
            share = self._compute_mean_share(counts, bins)
            return {"mae": None if share is None else float(share) * (self._numbers.high - self._numbers.low)}
        table = self._read(counts, bins)
        return {
            "r2": to_figure(table.compute_r2()),
            "mse": table.compute_mean_squared_error(),
            "mae": table.compute_mean_absolute_error(),
            "pearson": table.compute_pearson(),
            "concordance": to_figure(table.compute_concordance()),
        }

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Compute the exact R^2; of several numbers, minus the mean absolute error in shares of the range.

        Raises:
            ValueError: as :meth:`compute_figures`.
        """
        if not self._numbers.shape:
            return self._read(counts, bins).compute_r2()
        share = self._compute_mean_share(counts, bins)
        return None if share is None else -share

    def describe_outputs(self, outputs: "torch.Tensor") -> Mapping[str, NDArray[np.float64]]:
        """Return the predicted ``value`` of each record in the target's own units, (records, *shape)."""
        return {"value": describe_numbers(outputs, self._numbers)}

    def _read(self, counts: Sequence[int], bins: int) -> TwoWayCounts:
        return TwoWayCounts(counts, bound_bins(bins), self._numbers.low, self._numbers.high)

    def _compute_mean_share(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Compute the mean of the bins' middles, in shares of the range."""
        (cells,) = split_counts(counts, self.terms.list_cell_groups(self.contract, bins))
        patients = int(cells.sum())
        twice = 2 * np.arange(len(cells)).astype(object) + 1
        return Fraction(int((cells * twice).sum()), 2 * len(cells) * patients) if patients else None
