"""Binary classification: the loss, and a model's figures from summed score histograms.

Rules:

* bins, ties and clipped counts are those of ``models/tasks/histograms.py``;
* a score of 0.5 (``THRESHOLD``) or more is a positive prediction; the number of bins is even, so that 0.5 is an
  edge;
* AUROC and average precision are those of the binned scores. Brier score and calibration error take the middle of a
  bin for its scores: against those of the scores themselves, the calibration
  error of these bins is off by at most half a bin's width, the Brier score by at most a whole one;
* models are compared by the AUROC, an exact fraction of whole numbers, so that every site chooses the same model;
* a figure is None if it needs a class that has no patients.

Brier score and calibration error judge probabilities: with a ``positive_weight`` other than 1, scores are none.

Sources: Brier 1950, Verification of forecasts expressed in terms of probability; Guo et al. 2017, On calibration of
modern neural networks, for the calibration error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from models.task import FigureKind, Values
from models.tasks.histograms import clip_counts, compute_auroc, compute_average_precision, place_in_bins, to_figure

if TYPE_CHECKING:
    import torch

THRESHOLD: Final = 0.5
"""A score of at least this is a positive prediction."""

FIGURES: Final = (
    FigureKind("auroc", "AUROC"),
    FigureKind("average_precision", "average precision"),
    FigureKind("accuracy", "accuracy"),
    FigureKind("sensitivity", "sensitivity"),
    FigureKind("specificity", "specificity"),
    FigureKind("brier", "Brier score", lower_is_better=True, best=0.0),
    FigureKind("calibration", "calibration error", lower_is_better=True, best=0.0),
)


@dataclass(frozen=True)
class BinaryTask:
    """Predict whether a label is positive: implements :class:`~models.task.Task`.

    A model gives one logit a record; the score is its sigmoid, the probability of a positive label. Counts are the
    bins of the negatives, then those of the positives; (2 * bins,).

    Attributes:
        target: the name of the label.
        positive_weight: how much a record with a positive label counts in the loss.
    """

    target: str = "label"
    positive_weight: float = 1.0

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """The figures, AUROC first."""
        return FIGURES

    def compute_losses(self, outputs: "torch.Tensor", targets: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Compute the weighted cross-entropy of each record from its logit; (records,)."""
        return compute_record_losses(outputs, targets[self.target], self.positive_weight)

    def count_cells(
        self, outputs: "torch.Tensor", targets: Mapping[str, NDArray[np.generic]], bins: int
    ) -> NDArray[np.int64]:
        """Count records by class and score bin; (2 * bins,)."""
        place = place_in_bins(self.describe_outputs(outputs)["probability"], bins)
        cells = targets[self.target].astype(np.int64) * bins + place  # (records,)
        return np.bincount(cells, minlength=2 * bins).astype(np.int64)

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        """Return the patients of both classes, after clipping at zero."""
        negatives, positives = _split_classes(counts, bins)
        return int(negatives.sum() + positives.sum())

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        """Compute the figures of summed counts, (2 * bins,), by name.

        ======================  ==========================================================================
        ``auroc``               probability that a positive patient scores above a negative one; a tie counts half
        ``average_precision``   mean precision over the positive patients, by falling scores
        ``accuracy``            share of correct predictions
        ``sensitivity``         share of positive patients with a positive prediction
        ``specificity``         share of negative patients with a negative prediction
        ``brier``               mean squared difference of score and label
        ``calibration``         mean difference of score and share of positives in a bin, over the patients
        ======================  ==========================================================================

        Raises:
            ValueError: the counts are not twice an even number of bins.
        """
        negatives, positives = _split_classes(counts, bins)
        negative, positive, half = int(negatives.sum()), int(positives.sum()), bins // 2
        rejected, found = int(negatives[:half].sum()), int(positives[half:].sum())
        patients, centres = negative + positive, (np.arange(bins) + 0.5) / bins
        squares = float((negatives * centres**2 + positives * (1 - centres) ** 2).sum())
        gaps = float(np.abs((negatives + positives) * centres - positives).sum())
        return {
            "auroc": to_figure(compute_auroc(negatives, positives)),
            "average_precision": compute_average_precision(negatives, positives),
            "accuracy": _divide(rejected + found, patients),
            "sensitivity": _divide(found, positive),
            "specificity": _divide(rejected, negative),
            "brier": _divide(squares, patients),
            "calibration": _divide(gaps, patients),
        }

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Compute the exact AUROC of ``counts`` (2 * bins,); None if a class has no patient.

        Raises:
            ValueError: as :meth:`compute_figures`.
        """
        return compute_auroc(*_split_classes(counts, bins))

    def describe_outputs(self, outputs: "torch.Tensor") -> Mapping[str, NDArray[np.float64]]:
        """Return the ``probability`` of a positive label for each record, (records,)."""
        scores: NDArray[np.float64] = outputs.double().sigmoid().cpu().numpy()
        return {"probability": scores}


def compute_record_losses(
    logits: "torch.Tensor", labels: "torch.Tensor", positive_weight: float = 1.0
) -> "torch.Tensor":
    """Compute the cross-entropy of each record, times ``positive_weight`` where the label is 1; (records,)."""
    from torch.nn.functional import binary_cross_entropy_with_logits  # the coordinator reads figures without torch

    weight = None if positive_weight == 1 else logits.new_tensor(positive_weight)
    return binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none", pos_weight=weight)


def _split_classes(counts: Sequence[int], bins: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the bins of the negatives and of the positives, clipped at zero; (bins,) each."""
    if bins < 2 or bins % 2:
        raise ValueError(f"expected an even number of bins, got {bins}")
    negatives, positives = clip_counts(counts, 2 * bins).reshape(2, bins)
    return negatives, positives


def _divide(part: float, whole: int) -> float | None:
    return part / whole if whole else None
