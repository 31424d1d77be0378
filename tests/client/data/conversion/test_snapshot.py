"""Snapshots of records: what is written is what is read, and the same records are the same bytes."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.data.conversion.snapshot import SnapshotWriter, count_bytes
from client.data.named_arrays import read_arrays_contents
from privacy.errors import DataError
from privacy.study.data.contract import Tensors
from privacy.study.data.tensors import Flags, Ids, Numbers
from tests.client.data.named_arrays import make_contract

_SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@st.composite
def tensors(draw: st.DrawFn) -> Tensors:
    """A number, an id and a flag, each of any small shape."""
    values = draw(st.sampled_from((2, 256, 257, 65_536, 65_537, 10_000_000)))
    return (
        Numbers(type="number", name="x", shape=draw(_SHAPES), low=-10, high=10, scaled="none"),
        Ids(type="id", name="codes", shape=draw(_SHAPES), values=values),
        Flags(type="flag", name="there", shape=draw(_SHAPES)),
    )


def make_records(of: Tensors, records: int, seed: int) -> dict[str, NDArray[Any]]:
    """Random records of ``of``, with the largest id among them."""
    random = np.random.default_rng(seed)
    numbers, ids, flags = of
    assert isinstance(ids, Ids)
    codes = random.integers(0, ids.values, (records, *ids.shape))
    codes.reshape(-1)[0] = ids.values - 1
    return {
        "x": random.uniform(-10, 10, (records, *numbers.shape)).astype(np.float32),
        "codes": codes,
        "there": random.random((records, *flags.shape)) < 0.5,
    }


def write(path: Path, of: Tensors, names: list[str], records: dict[str, NDArray[Any]], cuts: list[int]) -> Path:
    """A snapshot of ``records``, appended in parts."""
    writer = SnapshotWriter(path, "patient", of)
    for start, stop in zip([0, *cuts], [*cuts, len(names)], strict=True):
        writer.append(names[start:stop], {name: values[start:stop] for name, values in records.items()})
    writer.finish()
    return path


@settings(max_examples=25, deadline=None)
@given(
    tensors(), st.lists(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1), min_size=2, max_size=9)
)
def test_snapshot_of_any_tensors_is_read_as_it_was_written(of: Tensors, names: list[str]) -> None:
    records = make_records(of, len(names), seed=len(names))
    with TemporaryDirectory() as folder:
        whole = write(Path(folder) / "whole.npz", of, names, records, [])
        parts = write(Path(folder) / "parts.npz", of, names, records, [1])
        assert whole.read_bytes() == parts.read_bytes()
        with np.load(whole, allow_pickle=False) as read:  # numpy's own reader
            assert [each.decode("utf-8") for each in read["patient"].tolist()] == names
            for name, values in records.items():
                np.testing.assert_array_equal(read[name], values)


def test_snapshot_is_read_as_a_file_of_its_contract_with_every_identifier(tmp_path: Path) -> None:
    contract = make_contract()
    of = (*contract.list_inputs(), *contract.list_targets())
    names = ["00012", "M\u00fc-7", "x" * 50]
    random = np.random.default_rng(0)
    records: dict[str, NDArray[Any]] = {
        "image": random.integers(0, 256, (3, 3, 4)).astype(np.float32),
        "codes": random.integers(0, 10, (3, 5)),
        "missing": random.random((3, 3)) < 0.5,
        "label": np.array([0, 1, 2]),
    }
    contents = read_arrays_contents(contract, write(tmp_path / "train.npz", of, names, records, [2]))
    assert not contents.mistakes
    assert list(contents.ids) == names
    np.testing.assert_array_equal(contents.targets["label"][np.arange(3)], [0, 1, 2])
    assert (tmp_path / "train.npz").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["train.npz"]


def test_snapshot_that_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    of = (Flags(type="flag", name="there"),)
    writer = SnapshotWriter(tmp_path / "train.npz", "patient", of)
    writer.append(["a"], {"there": np.array([True])})
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_snapshot_of_another_shape_is_refused(tmp_path: Path) -> None:
    writer = SnapshotWriter(tmp_path / "train.npz", "patient", (Flags(type="flag", name="there", shape=(2,)),))
    with pytest.raises(DataError, match=r"array 'there': expected the shape \(1, 2\), got \(1, 3\)"):
        writer.append(["a"], {"there": np.ones((1, 3), bool)})
    writer.discard()


def test_snapshot_whose_tensor_is_called_like_the_patient_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the array 'patient' is a tensor and tells the patient"):
        SnapshotWriter(tmp_path / "train.npz", "patient", (Flags(type="flag", name="patient"),))


def test_bytes_of_a_record_are_those_of_its_file(tmp_path: Path) -> None:
    of = (Numbers(type="number", name="x", shape=(3,), low=0, high=1), Ids(type="id", name="c", values=300))
    assert count_bytes(of) == 3 * 4 + 2
