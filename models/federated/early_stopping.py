"""Early stopping: which evaluated model is the best, and when a study ends because no better one came.

Each site and the coordinator compute the same answer from the same opened totals. No message carries it.

Rules:

* models are compared by their rank, the first figure of the task as an exact fraction, so that rounding makes no two
  of them equal;
* a greater rank is better; of equal ones the earliest stays the best;
* a rank that is not defined (noise may leave a class without patients) is never the best, and counts as an evaluation
  that brought no better one;
* patience is counted from the first defined rank.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from privacy.study.terms import Terms

Ranks = Sequence[Fraction | None]
"""The ranks of a study's evaluations, in the order of rounds; None for one that is not defined."""


def rank_evaluations(terms: Terms, evaluations: Iterable[Sequence[int]]) -> Ranks:
    """Compute the rank of each of ``evaluations``, opened totals of (cells,) each.

    Raises:
        ValueError: totals are not as many as the task has cells.
    """
    from models.tasks.registry import make_task  # numpy, which most of the coordinator's commands do without

    task = make_task(terms.task, terms.data)
    return [task.compute_rank(counts, terms.evaluation.bins) for counts in evaluations]


def find_best_evaluation(ranks: Ranks) -> int | None:
    """Find the index of the best evaluation; None if no rank is defined."""
    best: tuple[Fraction, int] | None = None
    for place, rank in enumerate(ranks):
        if rank is not None and (best is None or rank > best[0]):
            best = rank, place
    return None if best is None else best[1]


def is_best(ranks: Ranks) -> bool:
    """Return whether the last evaluation is better than all before it."""
    return bool(ranks) and find_best_evaluation(ranks) == len(ranks) - 1


def is_out_of_patience(ranks: Ranks, patience: int | None) -> bool:
    """Return whether the last ``patience`` evaluations brought no better model; False if ``patience`` is None."""
    if patience is None:
        return False
    best = find_best_evaluation(ranks)
    return best is not None and len(ranks) - 1 - best >= patience
