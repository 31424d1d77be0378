"""The task ``multiclass``: predict which of several classes a record belongs to.

A test patient adds one to one cell of every group. There is one group for each class: first the bins of patients
who are not of the class, then the bins of those who are, by the class's probability. The last group is truth x
prediction.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import TensorName
from privacy.study.tasks.classes import MOST_CLASSES, describe_class_misfit, describe_weights_misfit, find_classes
from privacy.study.tasks.task import CellGroup, TaskTerms

ClassWeights = Annotated[
    tuple[Annotated[float, Field(ge=0.001, le=1000)], ...], Field(min_length=0, max_length=MOST_CLASSES)
]


class ClassLoss(StrEnum):
    """What a record's logits are measured by in training."""

    CROSS_ENTROPY = "cross_entropy"
    MARGIN = "margin"


class MulticlassTerms(TaskTerms):
    """One class of several, from one logit for each class.

    Attributes:
        target: the class, an id of as many values as there are classes.
        class_weights: the weight in the loss of a record of each class; without any it is 1.
        loss: cross-entropy, or the margin loss of capsule networks.
    """

    kind: Literal["multiclass"]
    target: TensorName = "label"
    class_weights: ClassWeights = ()
    loss: ClassLoss = Field(
        default=ClassLoss.CROSS_ENTROPY, exclude_if=lambda loss: loss is ClassLoss.CROSS_ENTROPY
    )

    def list_targets(self) -> tuple[str, ...]:
        """List the class."""
        return (self.target,)

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why the target is no class, or has not as many classes as there are weights."""
        misfit = describe_class_misfit(contract, self.target)
        if misfit is not None:
            return misfit
        return describe_weights_misfit(self.class_weights, find_classes(contract, self.target).values, self.target)

    def compute_output_shape(self, contract: DataContract) -> tuple[int, ...]:
        """Return (classes,): a logit for each class."""
        return (find_classes(contract, self.target).values,)

    def list_cell_groups(self, contract: DataContract, bins: int) -> tuple[CellGroup, ...]:
        """List for each class the histogram of the others and its own patients, then truth x prediction."""
        classes = find_classes(contract, self.target).values
        each = tuple(
            CellGroup(f"class {number}: rest or class x score", 2 * bins, rows=2) for number in range(classes)
        )
        return (*each, CellGroup("truth x prediction", classes**2, rows=classes))
