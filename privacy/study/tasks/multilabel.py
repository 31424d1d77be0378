"""The task ``multilabel``: predict several labels of a record, each of which may be positive or not.

With ``per_label`` a test patient adds one to one cell of every label's histogram, class x score bin, and every
label is a group.

Without it all labels share one histogram of 2 x bins cells, to which a patient adds one for each of the L labels.
What one patient adds, c_1, c_2 ..., are whole numbers of at least 0 with the sum L. Their squares sum to at most
(c_1 + c_2 + ...)^2 = L^2, because the products that the square has beside them are not negative; a patient whose
labels all fall into one cell reaches it. So the group's squared sensitivity is L^2. The standard deviation of a
micro count is then sigma * L, just what the sum of L cells with the deviation sigma * sqrt(L) has: without
``per_label`` there are fewer cells, not less noise.
"""

from typing import Final, Literal

from pydantic import Field

from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Flags, TensorName, describe_tensor
from privacy.study.tasks.task import CellGroup, TaskTerms, describe_tensor_misfit

MOST_LABELS: Final = 10_000


class MultilabelTerms(TaskTerms):
    """Several yes-or-no labels, from one logit for each.

    Attributes:
        target: the labels, flags of one axis.
        positive_weight: the weight of a positive label in the loss; a negative one has 1.
        per_label: whether each label's patients are counted for themselves.
    """

    kind: Literal["multilabel"]
    target: TensorName = "labels"
    positive_weight: float = Field(default=1.0, ge=0.001, le=1000)
    per_label: bool = True

    def list_targets(self) -> tuple[str, ...]:
        """List the labels."""
        return (self.target,)

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why the target is not flags of one axis."""
        words = f"flags of one axis, up to {MOST_LABELS} labels"
        misfit = describe_tensor_misfit(contract, self.target, Flags, words)
        if misfit is not None:
            return misfit
        labels = self._find_labels(contract)
        if len(labels.shape) != 1 or labels.shape[0] > MOST_LABELS:
            return f"the task needs '{self.target}' to be {words}; in the data it is {describe_tensor(labels)}"
        return None

    def compute_output_shape(self, contract: DataContract) -> tuple[int, ...]:
        """Return (labels,): a logit for each label."""
        return self._find_labels(contract).shape

    def list_cell_groups(self, contract: DataContract, bins: int) -> tuple[CellGroup, ...]:
        """List a histogram of class x score bin for each label, or the sums of all labels in one."""
        (labels,) = self._find_labels(contract).shape
        if self.per_label:
            return tuple(CellGroup(f"label {number}: class x score", 2 * bins, rows=2) for number in range(labels))
        return (CellGroup("all labels: class x score", 2 * bins, squared_sensitivity=labels**2, histogram=False),)

    def _find_labels(self, contract: DataContract) -> Flags:
        labels = contract.find_tensor(self.target)
        assert isinstance(labels, Flags)
        return labels
