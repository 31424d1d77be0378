"""What summed score histograms say about a model.

Rules:

* counts are clipped at zero first: noise may have turned a cell negative;
* a score of 0.5 or more is a positive prediction (the number of bins is even, so 0.5 is an edge);
* two patients in one bin are a tie and count half, so the AUROC is that of the binned scores;
* a figure that needs a class without patients is None.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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


def metrics(counts: Sequence[int]) -> Metrics:
    """The figures of ``counts``: the negatives' bins, then the positives'; (2 * bins,).

    Raises:
        ValueError: the counts are not twice an even number of bins.
    """
    if not len(counts) or len(counts) % 4:
        raise ValueError(f"expected two classes of an even number of bins, got {len(counts)} counts")
    negatives, positives = np.clip(np.array(counts, dtype=np.int64), 0, None).reshape(2, -1)
    negative, positive = int(negatives.sum()), int(positives.sum())
    half = len(negatives) // 2
    rejected, found = int(negatives[:half].sum()), int(positives[half:].sum())
    below = np.cumsum(negatives) - negatives  # negatives in lower bins
    wins = float((positives * (below + negatives / 2)).sum())
    return Metrics(
        auroc=_share(wins, positive * negative),
        accuracy=_share(rejected + found, negative + positive),
        sensitivity=_share(found, positive),
        specificity=_share(rejected, negative),
        patients=negative + positive,
    )


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
