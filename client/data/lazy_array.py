"""Read a tensor from its file in parts: only the records that are asked for become numbers in memory.

Rules:

* values are read as the file has them, and converted as the contract says: numbers are clipped and scaled to float32,
  ids become int64, flags bool;
* records may have another order than in the file; only their places are kept, nothing is copied;
* no value comes from a file that was changed since it was checked (``client/data/adapters/arrays.py``).
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.arrays import Rows, StoredArray
from client.data.scaling import scale
from privacy.study.data.tensors import Flags, Ids, Numbers

Tensor = Numbers | Ids | Flags

_TYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "number": np.dtype(np.float32),
    "id": np.dtype(np.int64),
    "flag": np.dtype(np.bool_),
}
_PART: Final = 1 << 20  # values converted at a time


class LazyArray:
    """An array of records that are read and converted when they are selected.

    ``array[rows]`` takes a slice, an array of places or one of flags, and returns a new numpy array of these records.
    """

    def __init__(
        self, source: StoredArray | NDArray[Any], tensor: Tensor, places: NDArray[np.int64] | None = None
    ) -> None:
        """Wrap an array.

        Args:
            source: (records of the file, *shape), of any type that ``tensor`` may have in a file.
            tensor: what the values are.
            places: (records,) the place in ``source`` of each record; None for all, in their order.
        """
        self._source = source
        self._tensor = tensor
        self._places = places

    def __len__(self) -> int:
        return len(self._source) if self._places is None else len(self._places)

    def __repr__(self) -> str:
        return f"LazyArray({self._tensor.name}, {self.shape}, {self.dtype})"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, records first."""
        return (len(self), *self._source.shape[1:])

    @property
    def nbytes(self) -> int:
        """The bytes of memory that all records take."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of what is returned."""
        return _TYPES[self._tensor.type]

    def __getitem__(self, rows: Rows) -> NDArray[Any]:
        """Read and convert records, as a new array.

        Raises:
            DataError: the file was changed since it was checked.
        """
        return convert(self._source[rows if self._places is None else self._places[rows]], self._tensor)

    def select(self, places: NDArray[np.int64]) -> "LazyArray":
        """Return the records at ``places`` as an array of their own; nothing is read."""
        inside = places if self._places is None else self._places[places]
        return LazyArray(self._source, self._tensor, inside)

    def load(self) -> NDArray[Any]:
        """Read all records into memory."""
        loaded = np.empty(self.shape, self.dtype)
        step = max(1, _PART // max(1, math.prod(self.shape[1:])))
        for start in range(0, len(self), step):
            loaded[start : start + step] = self[start : start + step]
        return loaded


def convert(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Convert values as a file has them to those that models and tasks see, as a new array of the same shape.

    >>> convert(np.array([0, 51, 255], dtype=np.uint8), Numbers(type="number", name="x", low=0, high=255)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    converted = np.empty(values.shape, dtype=_TYPES[tensor.type])
    if not isinstance(tensor, Numbers):
        converted[...] = values
        return converted
    step = max(1, _PART // max(1, math.prod(values.shape[1:])))  # records at a time: scaling takes 64-bit numbers
    for start in range(0, len(values), step):
        part = values[start : start + step]
        converted[start : start + step] = scale(part, tensor.low, tensor.high, tensor.scaled)
    return converted
