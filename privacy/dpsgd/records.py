"""Give the engine the records of a site: how many each patient has, and any of them as tensors on the device.

Rules:

* The records of one patient are neighbours, in the order of the patients: patient 0 has the first ``counts[0]``
  records. A patient may have none.
* Only the records of one physical batch need to be on the training device at a time.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from privacy.dpsgd.named_tensors import Inputs, Targets, Tensors

Array = torch.Tensor | NDArray[Any]
"""A tensor, or an array in memory or in a file (``numpy.memmap``)."""
Arrays = Array | Mapping[str, Array]


class Records(Protocol):
    """All training records of a site."""

    @property
    def patients(self) -> int:
        """Number of patients."""
        ...

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of records of each patient; (patients,)."""
        ...

    def select(self, rows: NDArray[np.int64]) -> tuple[Inputs, Targets]:
        """Return inputs and targets of the records ``rows``, in this order, on the training device."""
        ...


class TensorRecords:
    """Records in tensors or arrays; the rows of an array are read when they are selected.

    Args:
        inputs: (records, ...), or a mapping from names to these.
        targets: likewise.
        patient: (records,) the patient of each record in rising order, from 0.
        patients: their number; without it, one more than the last in ``patient``.
        device: where selected records go; without it, tensors stay where they are.

    Raises:
        ValueError: tensors have not equally many records, or patients are not in rising order from 0.
    """

    def __init__(
        self,
        inputs: Arrays,
        targets: Arrays,
        patient: Array,
        patients: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        owner = patient.cpu().numpy() if isinstance(patient, torch.Tensor) else np.asarray(patient)
        for held in (inputs, targets):
            for name, array in held.items() if isinstance(held, Mapping) else [("", held)]:
                if len(array) != len(owner):
                    place = f"'{name}'" if name else "a tensor"
                    raise ValueError(f"{place} has {len(array)} records, expected {len(owner)}, as 'patient' has")
        if len(owner) and (owner[0] < 0 or (np.diff(owner) < 0).any()):
            raise ValueError(
                "expected the records of each patient side by side, the patients in rising order from 0"
            )
        known = int(owner[-1]) + 1 if len(owner) else 0
        if patients is not None and patients < known:
            raise ValueError(f"expected at most {patients} patients, got {known}")
        self.patients = known if patients is None else patients
        self.counts: NDArray[np.int64] = np.bincount(owner, minlength=self.patients).astype(np.int64)
        self._inputs, self._targets, self._device = inputs, targets, device

    def select(self, rows: NDArray[np.int64]) -> tuple[Inputs, Targets]:
        """Return inputs and targets of the records ``rows``, in this order."""
        return _select(self._inputs, rows, self._device), _select(self._targets, rows, self._device)


def _select(arrays: Arrays, rows: NDArray[np.int64], device: torch.device | None) -> Tensors:
    if isinstance(arrays, Mapping):
        return {name: _select_array(array, rows, device) for name, array in arrays.items()}
    return _select_array(arrays, rows, device)


def _select_array(array: Array, rows: NDArray[np.int64], device: torch.device | None) -> torch.Tensor:
    if isinstance(array, torch.Tensor):
        found = array[torch.from_numpy(rows).to(array.device)]
    else:
        found = torch.from_numpy(array[rows])  # a copy in memory, also when the array is in a file
    return found if device is None else found.to(device)
