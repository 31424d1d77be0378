"""A contract of kind ``arrays`` and files that keep it, for tests."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.study import ArraysContract

CONTRACT: dict[str, Any] = {
    "kind": "arrays",
    "name": "scans",
    "patient": "patient",
    "ranges_from": "invented",
    "inputs": [
        {"type": "number", "name": "image", "shape": [3, 4], "low": 0, "high": 255},
        {"type": "id", "name": "codes", "shape": [5], "values": 10},
        {"type": "flag", "name": "missing", "shape": [3]},
    ],
    "targets": [{"type": "id", "name": "label", "values": 3}],
}


def make_contract(**changes: Any) -> ArraysContract:
    """The contract, with ``changes``."""
    return ArraysContract.model_validate({**CONTRACT, **changes})


def make_arrays(records: int = 24, prefix: str = "p", seed: int = 0) -> dict[str, NDArray[Any]]:
    """Arrays that keep the contract: one record a patient, every class occurs."""
    random = np.random.default_rng(seed)
    return {
        "patient": np.array([f"{prefix}{number}" for number in range(records)]),
        "image": random.integers(0, 256, (records, 3, 4), dtype=np.uint8),
        "codes": random.integers(0, 10, (records, 5), dtype=np.int32),
        "missing": random.random((records, 3)) < 0.5,
        "label": np.arange(records) % 3,
    }


def write_arrays(path: Path, **arrays: Any) -> Path:
    """A ``.npz`` file as numpy writes it, not compressed."""
    np.savez(path, **arrays)
    return path


def write_packed_arrays(path: Path, **arrays: Any) -> Path:
    """A ``.npz`` file as numpy compresses it."""
    np.savez_compressed(path, **arrays)
    return path


def choose_writer(*, packed: bool) -> Callable[..., Path]:
    """One of the two."""
    return write_packed_arrays if packed else write_arrays


def write_members(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip archive of these bytes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def to_npy(array: NDArray[Any], *, pickled: bool = False) -> bytes:
    """The bytes of a ``.npy`` file."""
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=pickled)
    return out.getvalue()
