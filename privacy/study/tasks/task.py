"""What every task of the terms says in public: the targets, the model's output, and the cells of the sealed totals.

A test patient changes the totals by a bounded amount, whatever the numbers are. Totals are integers in groups of
cells:

* in a **histogram** every patient adds one to exactly one cell: one patient more or less changes the group by 1 in L2;
* in a group of **sums** a patient adds an integer to each cell; ``squared_sensitivity`` bounds the sum of their
  squares.

Noise is added to all groups at once, as one Gaussian mechanism. With noise multiplier sigma a cell of group g gets
the standard deviation sigma * sqrt(G) * D_g, where G is the number of groups and D_g the L2 sensitivity of the group.
Scaled by these deviations over sigma, one patient changes all cells together by at most
sqrt(sum_g D_g^2 / (G * D_g^2)) = 1, so that the totals cost what one Gaussian with noise multiplier sigma costs (Dwork
and Roth 2014, theorem A.1, by post-processing with a public scale).

``models/tasks/`` has the other half: losses, how patients are counted, and the figures of totals.
"""

from typing import Any, NamedTuple

from privacy.document import Document
from privacy.study.data.contract import DataContract


class CellGroup(NamedTuple):
    """Neighbouring cells of the sealed totals.

    Attributes:
        name: what is counted.
        cells: how many.
        squared_sensitivity: the most that one patient changes the group by, in squared L2; 1 for a histogram.
        histogram: whether every patient adds one to exactly one cell.
        rows: into how many equal parts, one after another, a histogram is divided whose own totals matter to figures,
            for example one for each class.
    """

    name: str
    cells: int
    squared_sensitivity: int = 1
    histogram: bool = True
    rows: int = 1


class TaskTerms(Document):
    """A task; one class for each kind."""

    def list_targets(self) -> tuple[str, ...]:
        """List the tensors that loss and totals need beside the model's output: targets, or inputs by their names."""
        raise NotImplementedError

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why the task cannot be learned from data of ``contract``: what is missing or has another type.

        None if it can be.
        """
        raise NotImplementedError

    def compute_output_shape(self, contract: DataContract) -> tuple[int, ...]:
        """Return the shape of what a model must give for each record; () for one number."""
        raise NotImplementedError

    def list_cell_groups(self, contract: DataContract, bins: int) -> tuple[CellGroup, ...]:
        """List the groups of cells, in their order in the totals.

        Args:
            contract: the study's data.
            bins: into how many bins scores are divided (``evaluation.bins``).
        """
        raise NotImplementedError


def count_cells(groups: tuple[CellGroup, ...]) -> int:
    """Count the cells of all groups."""
    return sum(group.cells for group in groups)


def compute_squared_scales(groups: tuple[CellGroup, ...]) -> tuple[int, ...]:
    """Compute for each cell the variance of its noise over that of the noise multiplier, G * D_g^2; (cells,)."""
    return tuple(len(groups) * group.squared_sensitivity for group in groups for _ in range(group.cells))


def describe_tensor_misfit(contract: DataContract, name: str, wanted: type[Any], words: str) -> str | None:
    """Describe why the tensor ``name`` of ``contract`` is not one of the type ``wanted``, which ``words`` describe.

    None if it is.
    """
    tensor = contract.find_tensor(name)
    if tensor is None:
        known = ", ".join(each.name for each in (*contract.list_targets(), *contract.list_inputs()))
        return f"the task needs '{name}', {words}; the data have no tensor of this name, only {known}"
    if not isinstance(tensor, wanted):
        return f"the task needs '{name}' to be {words}; in the data it is of type {tensor.type}"
    return None
