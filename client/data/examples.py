"""Patients as models and tasks see them: named inputs and targets, and the patient of each record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.lazy_array import LazyArray

Array = NDArray[Any] | LazyArray
"""Values with the records on the first axis: ``array[rows]`` gives those of some records as a numpy array."""


@dataclass(frozen=True, eq=False)
class Patients:
    """Records as numbers, grouped by patient, for training and evaluation.

    Types and ranges are those of the contract's tensors (``privacy/study/data/tensors.py``): float32, scaled; int64 for
    ids; bool for flags.

    Attributes:
        inputs: (records, ...) each, by the name of the contract's tensor.
        targets: (records, ...) each, by the name of the contract's tensor.
        patient: (records,) int64, never falling: record i belongs to patient ``patient[i]`` in 0..patients-1.
        patients: the number of patients.
    """

    inputs: Mapping[str, Array] = field(repr=False)
    targets: Mapping[str, Array] = field(repr=False)
    patient: NDArray[np.int64] = field(repr=False)
    patients: int

    @property
    def records(self) -> int:
        """The number of records."""
        return len(self.patient)

    def find(self, name: str) -> Array:
        """Return the target ``name``, or the input if no target is called so.

        Raises:
            KeyError: there is neither.
        """
        return self.targets[name] if name in self.targets else self.inputs[name]


def treat_records_as_patients(patients: Patients) -> Patients:
    """Return every record as a patient of its own, for studies that sample and clip records."""
    count = patients.records
    return Patients(patients.inputs, patients.targets, np.arange(count, dtype=np.int64), count)
