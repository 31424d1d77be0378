"""The task ``reconstruction``: give back an input, as an autoencoder does, or fill in what of it was missing.

A test patient adds one to one cell: the bins of the root mean square error over the record's values, from 0 to
``worst``; the last bin also holds larger errors and what is not a number. With a ``mask`` one more cell counts
records of which no value counts.
"""

from typing import Literal

from pydantic import Field

from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Flags, Numbers, TensorName, describe_tensor
from privacy.study.tasks.task import CellGroup, TaskTerms, describe_tensor_misfit


class ReconstructionTerms(TaskTerms):
    """An input that the model gives back, from as many outputs as it has values.

    Attributes:
        target: the input, numbers of any shape.
        mask: flags of the same shape: only values with a raised flag count. Without it all do.
        loss: ``squared``, the mean squared error; ``cross-entropy``, for values from 0 to 1: outputs are logits.
        worst: errors of at least this, in scaled units, are counted as one.
    """

    kind: Literal["reconstruction"]
    target: TensorName = "features"
    mask: TensorName | None = None
    loss: Literal["squared", "cross-entropy"] = "squared"
    worst: float = Field(default=1.0, ge=1e-6, le=1e6)

    def list_targets(self) -> tuple[str, ...]:
        """List the input, and the mask if there is one."""
        return (self.target,) if self.mask is None else (self.target, self.mask)

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why the target is no input of numbers, suits the loss, or has another shape than the mask."""
        misfit = describe_tensor_misfit(contract, self.target, Numbers, "numbers among the inputs")
        if misfit is not None:
            return misfit
        if self.target not in {each.name for each in contract.list_inputs()}:
            known = ", ".join(each.name for each in contract.list_inputs())
            return f"the task needs '{self.target}' to be an input; in the data it is a target; inputs: {known}"
        values = self._find_values(contract)
        low, high = values.range
        if self.loss == "cross-entropy" and (low < 0 or high > 1):
            return (
                f"loss: cross-entropy needs values from 0 to 1; in the data '{self.target}' has values from "
                f"{low:g} to {high:g}; write loss: squared, or scale the tensor to unit"
            )
        return None if self.mask is None else self._find_misfit_of_mask(contract, self.mask, values)

    def compute_output_shape(self, contract: DataContract) -> tuple[int, ...]:
        """Return the shape of the input."""
        return self._find_values(contract).shape

    def list_cell_groups(self, contract: DataContract, bins: int) -> tuple[CellGroup, ...]:
        """List one histogram of errors."""
        if self.mask is None:
            return (CellGroup("root mean square error", bins),)
        return (CellGroup("root mean square error, no value", bins + 1),)

    def _find_values(self, contract: DataContract) -> Numbers:
        values = contract.find_tensor(self.target)
        assert isinstance(values, Numbers)
        return values

    @staticmethod
    def _find_misfit_of_mask(contract: DataContract, name: str, values: Numbers) -> str | None:
        words = f"flags of the shape of '{values.name}'"
        misfit = describe_tensor_misfit(contract, name, Flags, words)
        if misfit is not None:
            return misfit
        mask = contract.find_tensor(name)
        assert isinstance(mask, Flags)
        if mask.shape == values.shape:
            return None
        return (
            f"the task needs '{name}' to be {words}; in the data it is {describe_tensor(mask)}, and "
            f"'{values.name}' is {describe_tensor(values)}"
        )
