"""Binary classification: the loss, and a model's figures from summed score histograms.

Rules:

* counts are clipped at zero first, because noise may have made a cell negative;
* a score of 0.5 (``THRESHOLD``) or more is a positive prediction; the number of bins is even, so that 0.5 is an
  edge;
* two patients in one bin are a tie and count half: the AUROC is that of the binned scores;
* the AUROC is an exact fraction of whole numbers, so that every site chooses the same model by it;
* a figure is None if it needs a class that has no patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

THRESHOLD: Final = 0.5
"""A score of at least this is a positive prediction."""


@dataclass(frozen=True)
class Metrics:
    """The figures of one model on the test patients of a cohort.

    Attributes:
        auroc: probability that a positive patient scores above a negative one; a tie counts half.
        accuracy: share of correct predictions.
        sensitivity: share of positive patients with a positive prediction.
        specificity: share of negative patients with a negative prediction.
        patients: test patients counted, after clipping at zero; noise included.
    """

    auroc: float | None
    accuracy: float | None
    sensitivity: float | None
    specificity: float | None
    patients: int


def compute_metrics(counts: Sequence[int]) -> Metrics:
    """Compute the figures of ``counts``: bins of the negatives, then of the positives; (2 * bins,).

    Raises:
        ValueError: the counts are not twice an even number of bins.
    """
    exact = compute_auroc(counts)
    negatives, positives = np.clip(np.array(counts, dtype=np.int64), 0, None).reshape(2, -1)
    negative, positive = int(negatives.sum()), int(positives.sum())
    half = len(negatives) // 2
    rejected, found = int(negatives[:half].sum()), int(positives[half:].sum())
    return Metrics(
        auroc=None if exact is None else float(exact),
        accuracy=_compute_share(rejected + found, negative + positive),
        sensitivity=_compute_share(found, positive),
        specificity=_compute_share(rejected, negative),
        patients=negative + positive,
    )


def compute_auroc(counts: Sequence[int]) -> Fraction | None:
    """Compute the exact AUROC of ``counts`` (2 * bins,); None if a class has no patient.

    Raises:
        ValueError: as :func:`compute_metrics`.
    """
    if not len(counts) or len(counts) % 4:
        raise ValueError(f"expected two classes of an even number of bins, got {len(counts)} counts")
    cells = [max(0, int(count)) for count in counts]
    negatives, positives = cells[: len(cells) // 2], cells[len(cells) // 2 :]
    pairs = sum(negatives) * sum(positives)
    if not pairs:
        return None
    below = accumulate(negatives, initial=0)  # negatives in lower bins
    # The Mann-Whitney statistic, doubled: a pair counts 2 if the negative is in a lower bin, 1 if in the same bin.
    halves = sum(
        found * (2 * lower + tied) for found, lower, tied in zip(positives, below, negatives, strict=False)
    )
    return Fraction(halves, 2 * pairs)


def _compute_share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def compute_record_losses(
    logits: "torch.Tensor", labels: "torch.Tensor", positive_weight: float = 1.0
) -> "torch.Tensor":
    """Compute the cross-entropy of each record, times ``positive_weight`` where the label is 1; (records,)."""
    from torch.nn.functional import binary_cross_entropy_with_logits  # the coordinator reads figures without torch

    weight = None if positive_weight == 1 else logits.new_tensor(positive_weight)
    return binary_cross_entropy_with_logits(logits, labels, reduction="none", pos_weight=weight)


@dataclass(frozen=True)
class BinaryTask:
    """Predict whether a label is positive: implements :class:`~models.task.Task`.

    A model ends in one logit a record; the score is its sigmoid, the probability of a positive label.

    Attributes:
        positive_weight: how much a record with a positive label counts in the loss.
    """

    positive_weight: float = 1.0

    def compute_losses(self, outputs: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        """Compute the weighted cross-entropy of each record; (records,)."""
        return compute_record_losses(outputs, labels, self.positive_weight)

    def count_cells(self, outputs: "torch.Tensor", labels: NDArray[np.float32], bins: int) -> NDArray[np.int64]:
        """Count patients by class and score bin: first the negatives' bins, then the positives'; (2 * bins,).

        Bin b holds scores in [b/bins, (b+1)/bins). The last one also holds its upper end, the first one also what is
        not a number.
        """
        scores: NDArray[np.float64] = outputs.double().sigmoid().cpu().numpy()
        # an attacker who steers the model can choose the patients whose score is NaN: it must be counted, not fail
        place = np.clip((np.nan_to_num(scores, nan=0.0) * bins).astype(np.int64), 0, bins - 1)
        cells = labels.astype(np.int64) * bins + place  # (patients,)
        return np.bincount(cells, minlength=2 * bins).astype(np.int64)

    def compute_figures(self, counts: Sequence[int]) -> Metrics:
        """Compute AUROC, accuracy, sensitivity and specificity; see :func:`compute_metrics`."""
        return compute_metrics(counts)
