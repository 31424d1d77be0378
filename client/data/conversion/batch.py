"""Define what converters yield, some records at a time as the contract's tensors, and gather such batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.conversion.snapshot import count_bytes
from privacy.study.data.contract import Tensors

_MOST_BYTES: Final = 8 << 20
_MOST_RECORDS: Final = 4096


@dataclass(frozen=True, eq=False)
class Batch:
    """Records of a source, in its order.

    Attributes:
        patients: the normal form of each record's patient; (records,).
        tensors: by the names of the contract's inputs and targets, (records, *shape) each: what a ``.npz`` file of the
            contract would hold. Numbers are not clipped and not scaled yet.
        held_out: whether each record's patient is held out, as the mapping's split says; (records,).
    """

    patients: Sequence[str] = field(repr=False)
    tensors: Mapping[str, NDArray[Any]] = field(repr=False)
    held_out: Sequence[bool] = field(repr=False)


class BatchBuilder:
    """Takes records until a batch is full."""

    def __init__(self, tensors: Tensors) -> None:
        """Gather records that have ``tensors``."""
        self._most = max(1, min(_MOST_RECORDS, _MOST_BYTES // max(1, count_bytes(tensors))))
        self._names = [tensor.name for tensor in tensors]
        self._empty()

    def add(self, patient: str, held_out: bool, values: Mapping[str, Any]) -> Batch | None:
        """Add a record: its patient in normal form, and every tensor. Return the batch if it is full now."""
        self._patients.append(patient)
        self._held_out.append(held_out)
        for name in self._names:
            self._values[name].append(values[name])
        return self.finish() if len(self._patients) == self._most else None

    def finish(self) -> Batch | None:
        """Return the records since the last batch; None if there are none."""
        if not self._patients:
            return None
        tensors: dict[str, NDArray[Any]] = {name: np.stack(self._values[name]) for name in self._names}
        batch = Batch(self._patients, tensors, self._held_out)
        self._empty()
        return batch

    def _empty(self) -> None:
        self._patients, self._held_out = list[str](), list[bool]()
        self._values: dict[str, list[Any]] = {name: [] for name in self._names}
