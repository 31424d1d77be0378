"""Which evaluated model is the best, and when a study has waited long enough for a better one.

One rule for everybody: each site and the coordinator compute it from the same opened totals, and nobody has to be told.

Rules:

* a model's figure is the AUROC of its totals as an exact fraction, so that no machine rounds two of them together;
* better is greater: of equal figures the earlier one stays the best;
* an AUROC that is undefined (noise may leave a class without patients) is never the best, and counts as an evaluation
  that brought nothing better;
* patience begins with the first AUROC that is defined: before it there is nothing to be better than.
"""

from collections.abc import Sequence
from fractions import Fraction

from models.tasks.binary import compute_auroc

Totals = Sequence[int]


def find_best_evaluation(evaluations: Sequence[Totals]) -> int | None:
    """The place of the best of ``evaluations``, which are in the order of their rounds; None if none has an AUROC.

    Raises:
        ValueError: totals are not twice an even number of bins.
    """
    best: tuple[Fraction, int] | None = None
    for place, totals in enumerate(evaluations):
        figure = compute_auroc(totals)
        if figure is not None and (best is None or figure > best[0]):
            best = figure, place
    return None if best is None else best[1]


def is_best(evaluations: Sequence[Totals]) -> bool:
    """Whether the last of ``evaluations`` is better than all before it.

    Raises:
        ValueError: as :func:`find_best_evaluation`.
    """
    return bool(evaluations) and find_best_evaluation(evaluations) == len(evaluations) - 1


def is_out_of_patience(evaluations: Sequence[Totals], patience: int | None) -> bool:
    """Whether the last ``patience`` evaluations were not better than the best before them; None waits for ever.

    Raises:
        ValueError: as :func:`find_best_evaluation`.
    """
    if patience is None:
        return False
    best = find_best_evaluation(evaluations)
    return best is not None and len(evaluations) - 1 - best >= patience
