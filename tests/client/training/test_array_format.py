"""Arrays are read as they were written: the library of the format is the oracle, both ways."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from safetensors.numpy import load, save

from client.training.array_format import ArrayFormatError, read_arrays, write_arrays

KINDS = st.sampled_from(["|b1", "|u1", "<i2", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"])
NAMED = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
    KINDS.flatmap(
        lambda kind: arrays(np.dtype(kind), array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    ),
    max_size=5,
)


def are_equal(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> bool:
    """Equal names, types, shapes and bytes: NaN equals NaN."""
    return one.keys() == other.keys() and all(
        (one[name].dtype, one[name].shape, one[name].tobytes())
        == (other[name].dtype, other[name].shape, other[name].tobytes())
        for name in one
    )


@given(NAMED)
def test_library_reads_what_is_written_and_the_other_way_round(named: dict[str, NDArray[Any]]) -> None:
    written = b"".join(write_arrays(named))
    assert are_equal(load(written), named)
    assert are_equal(read_arrays(memoryview(written)), named)
    assert are_equal(read_arrays(memoryview(save(named))), named)


def test_arrays_are_sent_and_read_without_a_copy() -> None:
    model = np.arange(1000.0)
    _, part = write_arrays({"model": model})
    assert np.shares_memory(np.frombuffer(part, dtype="<f8"), model)
    received = np.frombuffer(b"".join(write_arrays({"model": model})), dtype=np.uint8).copy()
    read = read_arrays(received.data)["model"]
    assert np.shares_memory(read, received)
    assert read.flags.writeable
    assert read.ctypes.data % 8 == 0


def test_parts_that_are_not_contiguous_are_written_row_by_row() -> None:
    grid = np.arange(12, dtype="<i8").reshape(3, 4)
    written = b"".join(write_arrays({"turned": grid.T, "every second": grid[:, ::2]}))
    assert are_equal(load(written), {"turned": grid.T.copy(), "every second": grid[:, ::2].copy()})


def frame(table: object, body: bytes = bytes(8)) -> bytes:
    head = table if isinstance(table, bytes) else json.dumps(table).encode()
    return len(head).to_bytes(8, "little") + head + body


def row(begin: Any = 0, end: Any = 8, kind: str = "F64", shape: Any = (1,)) -> dict[str, Any]:
    return {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(7),
        b"\xff" * 8 + bytes(8),
        frame(b"no json"),
        frame(b"[" * 100_000),
        frame([]),
        frame({"a": 1}),
        frame({"a": row(0, 9)}),
        frame({"a": row(0, 4)}),
        frame({"a": row(-8, 0)}),
        frame({"a": row(8, 0)}),
        frame({"a": row(shape=(2,))}),
        frame({"a": row(shape=(-1, -1))}),
        frame({"a": row(shape=(1 << 62, 4))}),
        frame({"a": row(kind="object")}),
        frame({"a": row(kind="BF16", shape=(4,))}),
        frame({"a": row(0.5)}),
        frame({"a": row(), "b": row()}),
        frame({"a": row()}, bytes(9)),
        frame({"a": row(8, 16)}, bytes(16)),
        frame({}),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ArrayFormatError):
        read_arrays(memoryview(data))


def test_no_arrays_are_an_empty_table() -> None:
    assert read_arrays(memoryview(b"".join(write_arrays({})))) == {}


def test_type_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' has type complex128"):
        write_arrays({"a": np.zeros(1, dtype=complex)})
