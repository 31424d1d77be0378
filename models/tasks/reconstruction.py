"""Reconstruction of an input: squared error or cross-entropy, and the figures of summed histograms of errors.

Rules:

* a model gives as many numbers as the input has values. With the squared loss they are the values; with
  cross-entropy, for values from 0 to 1, they are logits, and the values are their sigmoid;
* the loss of a record is the mean over its values; with a mask over those of which the flag is raised, and 0 if
  none is;
* the error of a record is the root mean square difference over the values that count, in scaled units. Bin b of n
  holds errors in [b/n, (b+1)/n) of ``worst``; the last one also holds larger ones, and what is not a number;
* an error counts as the middle of its bin, so that the mean is off by at most half a bin, worst / (2 * bins), as
  long as no error exceeds ``worst``; of one that does, the rest is not seen;
* a patient of whom no value counts is in no figure;
* models are compared by the mean error, an exact fraction; a smaller one is better, so that the rank is its
  negative;
* a figure is None without patients. Noise may have made counts negative: they are clipped at zero first.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from models.task import FigureKind, Values
from models.tasks.histograms import clip_counts, estimate_patients, place_in_bins, to_figure
from models.tasks.precision import widen
from privacy.study.tasks.reconstruction import ReconstructionTerms

if TYPE_CHECKING:
    import torch

FIGURES: Final = (
    FigureKind("reconstruction_error", "mean reconstruction error", lower_is_better=True, best=0.0),
    FigureKind("median_error", "median reconstruction error", lower_is_better=True, best=0.0),
)


@dataclass(frozen=True)
class ReconstructionTask:
    """Give back an input: implements :class:`~models.task.Task`.

    Attributes:
        target: the name of the input.
        mask: the name of the flags of values that count; None if all do.
        loss: squared error, or cross-entropy of logits.
        worst: errors of at least this are counted as one.
    """

    target: str = "features"
    mask: str | None = None
    loss: Literal["squared", "cross-entropy"] = "squared"
    worst: float = 1.0

    @classmethod
    def from_terms(cls, terms: ReconstructionTerms) -> Self:
        """Make the task that ``terms`` describe."""
        return cls(terms.target, terms.mask, terms.loss, terms.worst)

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """The figures, mean error first."""
        return FIGURES

    def compute_losses(self, outputs: "torch.Tensor", targets: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Compute the mean loss over the values that count of each record; (records,)."""
        import torch  # the coordinator reads figures without torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        shape = (len(outputs), math.prod(outputs.shape[1:]))
        said = widen(outputs).reshape(shape)
        values = targets[self.target].reshape(shape).to(said.dtype)
        counted = torch.ones_like(said, dtype=torch.bool)
        if self.mask is not None:
            counted = targets[self.mask].reshape(shape).bool()
            # replaced before the loss: behind it, an output that is not finite would make its gradient NaN
            said = torch.where(counted, said, values)
        if self.loss == "squared":
            each = (said - values) ** 2
        else:
            each = binary_cross_entropy_with_logits(said, values, reduction="none")
        return torch.where(counted, each, 0.0).sum(dim=1) / counted.sum(dim=1).clamp(min=1)

    def count_cells(
        self, outputs: "torch.Tensor", targets: Mapping[str, NDArray[np.generic]], bins: int
    ) -> NDArray[np.int64]:
        """Count records by their error, (bins,); with a mask a last cell counts those without values."""
        values = targets[self.target].astype(np.float64)
        shape = (len(values), math.prod(values.shape[1:]))
        counted = np.ones(shape, dtype=bool) if self.mask is None else targets[self.mask].reshape(shape) != 0
        with np.errstate(over="ignore", invalid="ignore"):  # whatever the numbers are, they are counted
            differences = self.describe_outputs(outputs)["values"].reshape(shape) - values.reshape(shape)
            squares = np.where(counted, differences**2, 0.0).sum(axis=1)
            errors = np.sqrt(squares / np.maximum(counted.sum(axis=1), 1))
            places = place_in_bins(np.nan_to_num(errors / self.worst, nan=1.0), bins)
        if self.mask is None:
            return np.bincount(places, minlength=bins).astype(np.int64)
        return np.bincount(np.where(counted.any(axis=1), places, bins), minlength=bins + 1).astype(np.int64)

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        """Return the total of the histogram."""
        return estimate_patients(counts, 1)

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        """Compute the figures of summed counts by name.

        ========================  ========================================================================
        ``reconstruction_error``  mean over the patients of the root mean square difference
        ``median_error``          its median; of an even number of patients, the mean of the middle two
        ========================  ========================================================================

        Raises:
            ValueError: the counts are not as many as the task has cells.
        """
        rank = self.compute_rank(counts, bins)
        cumulated = np.cumsum(clip_counts(counts, self._count_cells(bins))[:bins])
        patients = int(cumulated[-1])
        median: Fraction | None = None
        if patients:
            # the first bin up to which there are more patients than stand before the middle one, or the middle two
            lower, upper = (
                int(np.searchsorted(cumulated, place, side="right")) for place in _find_middle(patients)
            )
            median = Fraction(self.worst) * Fraction(lower + upper + 1, 2 * bins)
        return {
            "reconstruction_error": None if rank is None else to_figure(-rank),
            "median_error": to_figure(median),
        }

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Compute the exact mean error, negative; None without patients.

        Raises:
            ValueError: as :meth:`compute_figures`.
        """
        histogram = clip_counts(counts, self._count_cells(bins))[:bins].tolist()
        patients = sum(histogram)
        if not patients:
            return None
        halves = sum((2 * place + 1) * count for place, count in enumerate(histogram))  # of a bin's width
        return -Fraction(self.worst) * Fraction(halves, 2 * bins * patients)

    def describe_outputs(self, outputs: "torch.Tensor") -> Mapping[str, NDArray[np.float64]]:
        """Return the ``values`` that the model gives back, in scaled units; (records, *shape)."""
        said = outputs.detach().double()
        values: NDArray[np.float64] = (said if self.loss == "squared" else said.sigmoid()).cpu().numpy()
        return {"values": values}

    def _count_cells(self, bins: int) -> int:
        return bins if self.mask is None else bins + 1


def _find_middle(patients: int) -> tuple[int, int]:
    """Return the places, from 0, of the middle one or two of so many patients."""
    return (patients - 1) // 2, patients // 2
