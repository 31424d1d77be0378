"""The records of a study as its model takes them: named tensors on the device that trains, or files read in parts.

An array is placed on the device at once, if it is in memory or takes no more than ``RESIDENT_BYTES`` there. A larger
one stays in its file, and the records of a lot are copied to the device when they are drawn, so that a data set may be
larger than the memory.
"""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from client.data.examples import Array, Patients
from models.fit import name_inputs
from privacy.study import Terms

RESIDENT_BYTES: Final = 512 << 20
Tensors = dict[str, torch.Tensor]


class DeviceRecords:
    """A site's records, grouped by patient: what the engine draws lots from (``privacy/dpsgd``).

    Attributes:
        patients: the number of patients.
        counts: (patients,) the number of records of each.
    """

    def __init__(self, patients: Patients, terms: Terms, device: torch.device) -> None:
        sources = name_inputs(terms.model, terms.data)
        self.device = device
        self._inputs = {name: _place(patients.inputs[source], device) for name, source in sources.items()}
        self._targets = {name: _place(patients.find(name), device) for name in terms.task.list_targets()}
        self.patients = patients.patients
        self.counts: NDArray[np.int64] = np.bincount(patients.patient, minlength=patients.patients)

    @property
    def records(self) -> int:
        """The number of records."""
        return int(self.counts.sum())

    def select(self, rows: NDArray[np.int64]) -> tuple[Tensors, Tensors]:
        """Return the inputs and targets of the records ``rows``, on the device."""
        return self._select(self._inputs, rows), self._select(self._targets, rows)

    def _select(self, arrays: Mapping[str, "torch.Tensor | Array"], rows: NDArray[np.int64]) -> Tensors:
        places = torch.from_numpy(rows).to(self.device)
        return {
            name: value[places] if isinstance(value, torch.Tensor) else _copy(value[rows], self.device)
            for name, value in arrays.items()
        }


def _place(array: Array, device: torch.device) -> "torch.Tensor | Array":
    if not isinstance(array, np.ndarray):
        if math.prod(array.shape) * array.dtype.itemsize > RESIDENT_BYTES:
            return array
        return _copy(array[:], device)
    return _copy(array, device)


def _copy(array: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
