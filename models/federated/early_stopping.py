"""Early stopping: which evaluated model is the best, and when a study ends because no better one came.

Each site and the coordinator compute the same answer from the same opened totals. No message carries it.

Rules:

* models are compared by their rank, the first figure of the task as an exact fraction, so that rounding makes no two
  of them equal;
* a greater rank is better; of equal ones the earliest stays the best;
* a rank that is not defined (noise may leave a class without patients) is never the best, and counts as an evaluation
  that brought no better one;
* patience is counted from the first defined rank;
* an evaluation is ranked once, when it is opened: the thousandth costs what the first did.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from privacy.study.terms import Terms


class RankedEvaluations:
    """A study's evaluations, opened totals of (cells,) each, in the order of rounds; each is ranked when it is added.

    Where totals are not as many as the task has cells, every method that takes them raises ValueError.
    """

    def __init__(self, terms: Terms, evaluations: Iterable[Sequence[int]] = ()) -> None:
        from models.tasks.registry import make_task  # numpy, which most of the coordinator's commands do without

        self._task = make_task(terms.task, terms.data)
        self._evaluation = terms.evaluation
        self._count = 0
        self._best: tuple[Fraction, int] | None = None
        for counts in evaluations:
            self.add(counts)

    def __len__(self) -> int:
        return self._count

    def would_be_best(self, counts: Sequence[int]) -> bool:
        """Return whether a further evaluation with these totals would be better than all before it."""
        return self._find_better_rank(counts) is not None

    def add(self, counts: Sequence[int]) -> None:
        """Add the next evaluation."""
        better = self._find_better_rank(counts)
        if better is not None:
            self._best = better, self._count
        self._count += 1

    def _find_better_rank(self, counts: Sequence[int]) -> Fraction | None:
        """Return the rank of totals if it is greater than all before; None if it is not, or is not defined."""
        rank = self._task.compute_rank(counts, self._evaluation.bins)
        return rank if rank is not None and (self._best is None or rank > self._best[0]) else None

    @property
    def best(self) -> int | None:
        """The index of the best evaluation; None if no rank is defined."""
        return None if self._best is None else self._best[1]

    @property
    def are_out_of_patience(self) -> bool:
        """Whether the last evaluations, as many as the terms' patience, brought no better model; False without one."""
        patience = self._evaluation.patience
        return patience is not None and self.best is not None and self._count - 1 - self.best >= patience
