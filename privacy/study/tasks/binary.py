"""The task ``binary``: predict whether a label is positive.

A test patient adds one to one cell of class x score bin: first the bins of the negatives, then those of the positives.
"""

from typing import Literal

from pydantic import Field

from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Ids
from privacy.study.tasks.task import CellGroup, TaskTerms, describe_tensor_misfit


class BinaryTerms(TaskTerms):
    """A yes-or-no label, from one logit a record.

    Attributes:
        target: the label, an id of two values.
        positive_weight: the weight of a record with a positive label in the loss; one with a negative label has 1.
    """

    kind: Literal["binary"]
    target: str = "label"
    positive_weight: float = Field(default=1.0, ge=0.001, le=1000)

    def list_targets(self) -> tuple[str, ...]:
        """List the label."""
        return (self.target,)

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why the label is no id of two values."""
        words = "an id of 2 values"
        misfit = describe_tensor_misfit(contract, self.target, Ids, words)
        if misfit is not None:
            return misfit
        label = contract.find_tensor(self.target)
        assert isinstance(label, Ids)
        if label.values != 2 or label.shape:
            return (
                f"the task needs '{self.target}' to be {words}; in the data it has {label.values} values a record"
            )
        return None

    def compute_output_shape(self, contract: DataContract) -> tuple[int, ...]:
        """Return (): one logit."""
        return ()

    def list_cell_groups(self, contract: DataContract, bins: int) -> tuple[CellGroup, ...]:
        """List one histogram of class x score bin."""
        return (CellGroup("class x score", 2 * bins, rows=2),)
