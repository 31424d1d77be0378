"""A contract of kind ``arrays``: named tensors of any shape, as numpy arrays in one ``.npz`` file.

Images, volumes, series, visits and sequences are such arrays. The file holds one array for each tensor, records first,
and one array that tells the patient of each record.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from privacy.fields import Column
from privacy.study.data.contract import DataContract, Tensors
from privacy.study.data.tensors import Tensor


class ArraysContract(DataContract):
    """The arrays every site must have: ``inputs`` that models may take, ``targets`` that tasks may predict."""

    kind: Literal["arrays"]
    patient: Column = "patient"
    inputs: Annotated[tuple[Tensor, ...], Field(min_length=1, max_length=100)]
    targets: Annotated[tuple[Tensor, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        names = [self.patient, *(each.name for each in (*self.inputs, *self.targets))]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"an array has one role; used twice: {', '.join(twice)}")
        return self

    def list_inputs(self) -> Tensors:
        """List the inputs."""
        return self.inputs

    def list_targets(self) -> Tensors:
        """List the targets."""
        return self.targets
