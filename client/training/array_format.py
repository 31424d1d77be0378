"""Write named arrays in the format of safetensors, and read them where they lie.

The library copies every array twice each way; a model of a hundred MB goes to the process that trains and back in every
round. Here arrays are sent as they are, and read without a copy.

::

    8 bytes     length n of the table, little-endian; the table ends at a multiple of 8
    n bytes     JSON: {name: {"dtype": "F64", "shape": [3], "data_offsets": [begin, end]}, ...}, padded with spaces
    the rest    the arrays, little-endian, row by row; offsets count from here

Rules: nothing in what is read is trusted. Arrays lie one after the other without gaps, up to the end, and each has the
bytes that its type and shape need.

Source: the format's description in the repository of safetensors (Hugging Face).
"""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

Arrays = Mapping[str, NDArray[Any]]

_LENGTH_BYTES: Final = 8
_MOST_TABLE: Final = 100 << 20
_TYPES: Final = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
_NAMES: Final = {np.dtype(kind): name for name, kind in _TYPES.items()}


class ArrayFormatError(Exception):
    """What was read is not in this format."""


@dataclass(frozen=True)
class _Row:
    dtype: str
    shape: list[Annotated[int, Field(ge=0, strict=True)]]
    data_offsets: tuple[Annotated[int, Field(ge=0, strict=True)], Annotated[int, Field(ge=0, strict=True)]]


_TABLE: Final = TypeAdapter(dict[str, _Row])


def write_arrays(arrays: Arrays) -> list[memoryview]:
    """Return the parts that follow each other: the table, then each array's own memory.

    Raises:
        ValueError: an array's type has no name in the format.
    """
    table, parts, begin = {}, [], 0
    # those of wider items first, so that each begins at a multiple of its items' size
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        array = np.ascontiguousarray(arrays[name])
        kind = _NAMES.get(array.dtype)
        if kind is None:
            raise ValueError(f"'{name}' has type {array.dtype}, expected one of {', '.join(map(str, _NAMES))}")
        table[name] = {"dtype": kind, "shape": arrays[name].shape, "data_offsets": (begin, begin + array.nbytes)}
        parts.append(array.reshape(-1).view(np.uint8).data)
        begin += array.nbytes
    head = json.dumps(table, separators=(",", ":")).encode("utf-8")
    head += b" " * (-len(head) % 8)
    return [memoryview(len(head).to_bytes(_LENGTH_BYTES, "little") + head), *parts]


def read_arrays(data: memoryview) -> dict[str, NDArray[Any]]:
    """Return the arrays in ``data``, in its memory.

    Raises:
        ArrayFormatError: it is not in this format.
    """
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or length > min(_MOST_TABLE, len(data) - _LENGTH_BYTES):
        raise ArrayFormatError(f"expected a table and arrays, got {len(data)} bytes of another form")
    body = data[_LENGTH_BYTES + length :]
    try:
        table = _TABLE.validate_json(bytes(data[_LENGTH_BYTES : _LENGTH_BYTES + length]))
    except ValidationError:
        raise ArrayFormatError("the table of arrays is malformed") from None
    arrays, expected = {}, 0
    for name, row in sorted(table.items(), key=lambda item: item[1].data_offsets):
        begin, end = row.data_offsets
        kind = _TYPES.get(row.dtype)
        if kind is None or begin != expected or end > len(body):
            raise ArrayFormatError(f"'{name[:100]}' has no known type, or lies beyond its place")
        if math.prod(row.shape) * np.dtype(kind).itemsize != end - begin:
            raise ArrayFormatError(
                f"'{name[:100]}' has another number of bytes than its shape {row.shape[:9]} needs"
            )
        arrays[name] = np.frombuffer(body[begin:end], dtype=kind).reshape(row.shape)
        expected = end
    if expected != len(body):
        raise ArrayFormatError(f"the arrays end at byte {expected}, and {len(body)} came")
    return arrays
