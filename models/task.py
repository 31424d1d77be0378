"""What a model is trained for: its loss, what is counted of test patients, and the figures of these counts.

One task a file in ``models/tasks/``; the public half of each, which targets and which cells, is in
``privacy/study/tasks/``. What a task must keep, so that training and evaluation stay private:

* the loss of a record depends on this record alone;
* a test patient changes the cells by no more than the groups of ``privacy/study/tasks/`` say, whatever the numbers are:
  counting never fails, and what is not a number lands in a fixed cell;
* figures are computed from summed cells alone, by a rule that is the same at every site and at the coordinator. Cells
  may be negative, because noise may have made them so.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

Values = Mapping[str, float | None]
"""Figures by name; None for one that is not defined, for example because a class has no patient."""


class FigureKind(NamedTuple):
    """A figure of a task.

    Attributes:
        name: in documents: small letters, digits and ``_``.
        title: in tables.
        lower_is_better: whether a smaller value is a better one.
        best: the value of a perfect model.
    """

    name: str
    title: str
    lower_is_better: bool = False
    best: float = 1.0


class Task(Protocol):
    """One task. Methods that take tensors run where the records are; figures are computed without torch.

    A task is made from its terms and the data contract (``models/tasks/registry.py``).
    """

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """The figures, the one that chooses the best model first."""
        ...

    def compute_losses(self, outputs: "torch.Tensor", targets: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Compute the loss of each record from the model's outputs, (records, *shape); (records,)."""
        ...

    def count_cells(
        self, outputs: "torch.Tensor", targets: "Mapping[str, NDArray[np.generic]]", bins: int
    ) -> "NDArray[np.int64]":
        """Count what test records add to the cells; (records, cells) summed over the records: (cells,).

        Every record counts as one patient; who calls it gives one record a patient.
        """
        ...

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        """Return how many patients ``counts`` (cells,) are of; noise included, never negative."""
        ...

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        """Compute all figures of summed cells, (cells,), by name.

        Raises:
            ValueError: the counts are not as many as the task has cells.
        """
        ...

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Return the figure by which models are compared, as an exact fraction: greater is better.

        None if it is not defined.
        """
        ...

    def describe_outputs(self, outputs: "torch.Tensor") -> "Mapping[str, NDArray[np.float64]]":
        """Return what the outputs say of each record, by the name of a column: probabilities, times, values.

        Each is (records,), or (records, ...) for what is no single number.
        """
        ...
