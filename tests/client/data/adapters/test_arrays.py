"""A ``.npz`` file becomes arrays, or a sentence that names the array to mend; nothing in it is ever run."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import client.data.adapters.arrays
from client.data.adapters.arrays import StoredArray, read_arrays
from privacy.canonical import compute_sha256
from privacy.errors import DataError, DataUnavailableError
from tests.client.data.named_arrays import choose_writer, to_npy, write_arrays, write_members, write_packed_arrays

VALUES = np.arange(24, dtype=np.int32).reshape(4, 3, 2)


def only_mistake(path: Path, name: str = "x") -> str:
    """The only mistake of the file's array, which is not among those that can be read."""
    found = read_arrays(path, [name, "y"])
    assert name not in found.arrays
    (mistake,) = found.mistakes
    return mistake.sentence


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "values", [VALUES, np.asfortranarray(VALUES), VALUES.astype(">i4"), VALUES > 9, VALUES[:0]]
)
def test_array_is_read_as_numpy_reads_it(tmp_path: Path, packed: bool, values: NDArray[Any]) -> None:
    path = choose_writer(packed=packed)(tmp_path / "a.npz", other=np.ones(3), x=values, y=np.zeros(1))
    found = read_arrays(path, ["y", "x"])
    in_parts = not packed and (values.flags.c_contiguous or not values.size)
    assert isinstance(found.arrays["x"], StoredArray) is in_parts
    assert ("x" in found.loaded) is not in_parts
    np.testing.assert_array_equal(found.arrays["x"][:], np.load(path)["x"])
    assert found.arrays["x"].dtype == values.dtype
    assert (set(found.arrays), found.mistakes, found.sha256) == ({"x", "y"}, (), compute_sha256(path.read_bytes()))


@pytest.mark.parametrize("rows", [[2, 0, 2], [1, 2, 3, 0], [], [3]])
def test_array_in_parts_gives_any_records_in_any_order(tmp_path: Path, rows: list[int]) -> None:
    found = read_arrays(write_arrays(tmp_path / "a.npz", x=VALUES), ["x"]).arrays["x"]
    np.testing.assert_array_equal(found[np.array(rows, dtype=np.int64)], VALUES[rows])


@pytest.mark.parametrize("rows", [slice(None), slice(1, 3), slice(3, 0, -2), slice(9, 20), np.arange(4) % 2 == 0])
def test_array_in_parts_is_cut_like_one_in_memory(tmp_path: Path, rows: Any) -> None:
    found = read_arrays(write_arrays(tmp_path / "a.npz", x=VALUES), ["x"]).arrays["x"]
    np.testing.assert_array_equal(found[rows], VALUES[rows])
    for outside in (-1, 4):
        with pytest.raises(IndexError, match="expected records from 0 to 3"):
            found[np.array([0, outside])]


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_array_of_objects_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    values = np.array([Bomb(tmp_path / "run")], dtype=object)
    path = write_members(tmp_path / "a.npz", {"x.npy": to_npy(values, pickled=True), "y.npy": to_npy(VALUES)})
    assert only_mistake(path) == "array 'x': holds Python objects, which are never read; save plain numbers or text"
    (tmp_path / "b.npz").write_bytes(pickle.dumps([Bomb(tmp_path / "run")]))
    with pytest.raises(DataError, match="it looks like a Python pickle, which is never read"):
        read_arrays(tmp_path / "b.npz", ["x"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("member", "sentence"),
    [
        (b"", "is no numpy array of plain values"),
        (b"text and nothing else", "is no numpy array of plain values"),
        (to_npy(VALUES)[:-4], r"expected 96 bytes of values, as its header says, got 92"),
        (to_npy(VALUES) + b"more", r"expected 96 bytes of values, as its header says, got 100"),
        (to_npy(VALUES).replace(b"(4, 3, 2)", b"(4,-3,-2)"), "is no numpy array of plain values"),
        (to_npy(np.zeros(3, dtype=[("a", "i4"), ("b", "f4")])), "has several values in one, or none"),
        (to_npy(VALUES).replace(b"'descr': '<i4'", b"'descr': '|O' "), "holds Python objects"),
        (to_npy(VALUES).replace(b"False,", b"exit()"), "is no numpy array of plain values"),
    ],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_member_that_is_no_array_is_named_and_the_others_are_read(
    tmp_path: Path, member: bytes, sentence: str, compression: int
) -> None:
    path = write_members(tmp_path / "a.npz", {"x.npy": member, "y.npy": to_npy(VALUES)}, compression)
    assert sentence in only_mistake(path)
    np.testing.assert_array_equal(read_arrays(path, ["x", "y"]).arrays["y"][:], VALUES)


@pytest.mark.parametrize("packed", [False, True])
def test_array_whose_bytes_were_damaged_is_named(tmp_path: Path, packed: bool) -> None:
    random = np.random.default_rng(0).integers(0, 255, 4096, dtype=np.uint8)
    path = choose_writer(packed=packed)(tmp_path / "a.npz", x=random, y=VALUES)
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    assert "array 'x': the file is damaged there" in only_mistake(path)


def test_file_lacking_arrays_names_them_and_what_may_be_meant(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "a.npz", Image=VALUES, y=VALUES)
    assert only_mistake(path, "image") == (
        "lacks 1 arrays of the contract: image; did you mean 'Image' for 'image'?"
    )
    with pytest.raises(DataError, match="lacks 2 arrays of the contract: a, b"):
        read_arrays(path, ["a", "b"])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_file_with_an_array_twice_is_not_read(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "a.npz", x=VALUES, y=VALUES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", to_npy(VALUES + 1))
    assert only_mistake(path) == "has an array twice: x"


@pytest.mark.parametrize(("content", "sentence"), [
    (b"", "is empty; expected a .npz file"),
    (b"id,age\n1,2\n", "expected a .npz file, got other bytes: save the arrays with numpy.savez"),
    (to_npy(VALUES), r"it is a single array \(.npy\)"),
    (b"\x89HDF\r\n\x1a\n", "it looks like HDF5"),
    (b"PK\x03\x04 and then nothing", "is no whole .npz file: it was cut off"),
])  # fmt: skip
def test_file_that_is_no_archive_says_what_it_is(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        read_arrays(path, ["x"])


@pytest.mark.parametrize("packed", [False, True])
def test_file_that_was_cut_anywhere_is_refused_or_named(tmp_path: Path, packed: bool) -> None:
    whole = choose_writer(packed=packed)(tmp_path / "a.npz", x=VALUES, y=VALUES).read_bytes()
    path = tmp_path / "cut.npz"
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.npz: (is no whole|expected a) \.npz file"):
            read_arrays(path, ["x", "y"])


def test_file_with_any_changed_byte_gives_the_same_arrays_or_a_mistake(tmp_path: Path) -> None:
    whole = write_arrays(tmp_path / "a.npz", x=VALUES, y=VALUES).read_bytes()
    path, random = tmp_path / "changed.npz", np.random.default_rng(0)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ int(random.integers(1, 256))]) + whole[place + 1 :])
        try:
            found = read_arrays(path, ["x", "y"])
        except DataError:
            continue
        for array in found.arrays.values():
            np.testing.assert_array_equal(array[:], VALUES)


def test_compressed_array_that_unpacks_to_more_than_there_is_room_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_packed_arrays(tmp_path / "a.npz", x=np.zeros(1 << 20), y=VALUES)
    monkeypatch.setattr(client.data.adapters.arrays, "MAX_IN_MEMORY", 1 << 20)
    assert "array 'x': is compressed and does not fit into memory" in only_mistake(path)


def test_file_that_is_none_or_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match=r"none\.npz: cannot be read: No such file"):
        read_arrays(tmp_path / "none.npz", ["x"])
    for path, kind in ((tmp_path, "a folder"), (Path("/dev/zero"), "a device or a pipe")):
        with pytest.raises(DataError, match=f"expected a file, got {kind}"):
            read_arrays(path, ["x"])
