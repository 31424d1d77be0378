"""What tasks that predict a number share: the target, the loss, and how finely truth and prediction are binned.

An axis of the totals has ``evaluation.bins`` bins, but at most ``MOST_BINS_PER_AXIS``: a histogram of truth x
prediction has the square of it.
"""

from typing import Final, Literal

from pydantic import Field

from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Numbers, TensorName
from privacy.study.tasks.task import TaskTerms, describe_tensor_misfit

MOST_BINS_PER_AXIS: Final = 100


class NumberTargetTerms(TaskTerms):
    """A target of numbers, from as many outputs.

    Attributes:
        target: the numbers.
        loss: of an output's error e in the scale that models see: ``squared``, e^2; or ``huber``, e^2 / 2 up to
            ``delta`` and linear beyond it (Huber 1964, Robust estimation of a location parameter).
        delta: where ``huber`` becomes linear, in the scale that models see.
    """

    target: TensorName = "label"
    loss: Literal["squared", "huber"] = "squared"
    delta: float = Field(default=0.1, ge=1e-6, le=1e6)

    def list_targets(self) -> tuple[str, ...]:
        """List the target."""
        return (self.target,)

    def find_numbers(self, contract: DataContract) -> Numbers:
        """Find the target; the contract must have no misfit."""
        found = contract.find_tensor(self.target)
        assert isinstance(found, Numbers)
        return found

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why the target is missing, or of another type than number."""
        return describe_tensor_misfit(contract, self.target, Numbers, "a number")

    def compute_output_shape(self, contract: DataContract) -> tuple[int, ...]:
        """Return the target's shape: one output for each number."""
        return self.find_numbers(contract).shape


def bound_bins(bins: int) -> int:
    """Return how many bins each axis has."""
    return min(bins, MOST_BINS_PER_AXIS)
