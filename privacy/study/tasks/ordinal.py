"""The task ``ordinal``: predict which of several classes in order a record belongs to: a grade, a stage, a level.

A test patient adds one to one cell of truth x prediction.
"""

from typing import Literal

from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import TensorName
from privacy.study.tasks.classes import describe_class_misfit, find_classes
from privacy.study.tasks.task import CellGroup, TaskTerms


class OrdinalTerms(TaskTerms):
    """One class of several in order, from one logit for each class but the last: that the record is above it.

    Attributes:
        target: the class, an id of as many values as there are classes, the lowest one first.
    """

    kind: Literal["ordinal"]
    target: TensorName = "label"

    def list_targets(self) -> tuple[str, ...]:
        """List the class."""
        return (self.target,)

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why the target is no class."""
        return describe_class_misfit(contract, self.target)

    def compute_output_shape(self, contract: DataContract) -> tuple[int, ...]:
        """Return (classes - 1,): the logit of a class above k, for each k but the last."""
        return (find_classes(contract, self.target).values - 1,)

    def list_cell_groups(self, contract: DataContract, bins: int) -> tuple[CellGroup, ...]:
        """List one histogram of truth x prediction; there are no scores to divide into bins."""
        classes = find_classes(contract, self.target).values
        return (CellGroup("truth x prediction", classes**2, rows=classes),)
