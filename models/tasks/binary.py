"""What summed score histograms say about a model.

Rules:

* counts are clipped at zero first: noise may have turned a cell negative;
* a score of 0.5 (``THRESHOLD``) or more is a positive prediction (the number of bins is even, so it is an edge);
* two patients in one bin are a tie and count half, so the AUROC is that of the binned scores;
* the AUROC is an exact fraction of whole numbers: what is chosen by it is chosen alike everywhere;
* a figure that needs a class without patients is None.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import torch

THRESHOLD: Final = 0.5
"""A score of so much or more is a positive prediction."""


@dataclass(frozen=True)
class Metrics:
    """Figures of one model on the test patients of a cohort.

    Attributes:
        auroc: chance that a positive patient scores above a negative one.
        accuracy: share of right predictions.
        sensitivity: share of positives found.
        specificity: share of negatives found.
        patients: test patients counted (after clipping at zero; noise included).
    """

    auroc: float | None
    accuracy: float | None
    sensitivity: float | None
    specificity: float | None
    patients: int


def compute_metrics(counts: Sequence[int]) -> Metrics:
    """The figures of ``counts``: the negatives' bins, then the positives'; (2 * bins,).

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
    """The AUROC of ``counts``, exactly; None if a class has no patient.

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
    halves = sum(
        found * (2 * lower + tied) for found, lower, tied in zip(positives, below, negatives, strict=False)
    )
    return Fraction(halves, 2 * pairs)


def _compute_share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def compute_record_losses(
    logits: "torch.Tensor", labels: "torch.Tensor", positive_weight: float = 1.0
) -> "torch.Tensor":
    """Cross-entropy of each record, ``positive_weight`` times as much where the label is 1; (records,)."""
    from torch.nn.functional import binary_cross_entropy_with_logits  # the coordinator reads figures without torch

    weight = None if positive_weight == 1 else logits.new_tensor(positive_weight)
    return binary_cross_entropy_with_logits(logits, labels, reduction="none", pos_weight=weight)
