"""Early stopping: which evaluated model is the best, and when a study ends because no better one came.

Each site and the coordinator compute the same answer from the same opened totals. No message carries it.

Rules:

* models are compared by the AUROC of their totals, an exact fraction, so that rounding makes no two of them equal;
* a greater AUROC is better; of equal ones the earliest stays the best;
* an undefined AUROC (noise may leave a class without patients) is never the best, and counts as an evaluation that
  brought no better one;
* patience is counted from the first defined AUROC.
"""

from collections.abc import Sequence
from fractions import Fraction

from models.tasks.binary import compute_auroc

HistogramCounts = Sequence[int]


def find_best_evaluation(evaluations: Sequence[HistogramCounts]) -> int | None:
    """Find the index of the best of ``evaluations``, given in the order of rounds; None if none has an AUROC.

    Raises:
        ValueError: totals are not twice an even number of bins.
    """
    best: tuple[Fraction, int] | None = None
    for place, totals in enumerate(evaluations):
        figure = compute_auroc(totals)
        if figure is not None and (best is None or figure > best[0]):
            best = figure, place
    return None if best is None else best[1]


def is_best(evaluations: Sequence[HistogramCounts]) -> bool:
    """Return whether the last of ``evaluations`` is better than all before it.

    Raises:
        ValueError: as :func:`find_best_evaluation`.
    """
    return bool(evaluations) and find_best_evaluation(evaluations) == len(evaluations) - 1


def is_out_of_patience(evaluations: Sequence[HistogramCounts], patience: int | None) -> bool:
    """Return whether the last ``patience`` evaluations brought no better model; False if ``patience`` is None.

    Raises:
        ValueError: as :func:`find_best_evaluation`.
    """
    if patience is None:
        return False
    best = find_best_evaluation(evaluations)
    return best is not None and len(evaluations) - 1 - best >= patience
