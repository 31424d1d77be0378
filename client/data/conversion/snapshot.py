"""Write records as they come to a ``.npz`` file, one array for each tensor, in bounded memory.

The file is what ``client/data/adapters/arrays.py`` reads in parts: not compressed, C order. The same records give the
same bytes, so that its SHA-256 is that of the data. While it is written, each tensor has a file of its own beside it.
"""

import contextlib
import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from privacy.errors import DataError
from privacy.study.data.contract import Tensors
from privacy.study.data.tensors import Flags, Ids, Numbers

_PART: Final = 1 << 20  # bytes copied at a time
_INTEGERS: Final = tuple(np.dtype(each) for each in ("<u1", "<u2", "<i4", "<i8"))


class SnapshotWriter:
    """Append records, then :meth:`finish`; without it, :meth:`discard` leaves nothing behind."""

    def __init__(self, path: Path, patient: str, tensors: Tensors) -> None:
        """Begin a file.

        Args:
            path: the file to make; parts are made beside it.
            patient: the name of the array of patients.
            tensors: what every record has.

        Raises:
            DataError: a tensor is called like the array of patients.
        """
        if any(tensor.name == patient for tensor in tensors):
            raise DataError(
                f"the array '{patient}' is a tensor and tells the patient; rename the column of the patient"
            )
        self._path = path
        self._patient = patient
        self._tensors = tensors
        self._patients = path.with_name(f".{path.name}.patients")
        self._parts = {tensor.name: path.with_name(f".{path.name}.{tensor.name}.part") for tensor in tensors}
        self._stack = contextlib.ExitStack()
        self._files: dict[str, IO[bytes]] = {
            name: self._stack.enter_context(part.open("wb")) for name, part in self._parts.items()
        }
        self._names = self._stack.enter_context(self._patients.open("wb"))
        self._longest = 1  # bytes of an identifier
        self.records = 0

    def append(self, patients: Sequence[str], tensors: Mapping[str, NDArray[Any]]) -> None:
        """Append records: their patients, and (records, *shape) of every tensor."""
        for tensor in self._tensors:
            values = np.ascontiguousarray(tensors[tensor.name], dtype=_choose_type(tensor))
            if values.shape != (len(patients), *tensor.shape):
                raise DataError(
                    f"array '{tensor.name}': expected the shape {(len(patients), *tensor.shape)}, got {values.shape}"
                )
            self._files[tensor.name].write(values.data)
        for patient in patients:
            name = patient.encode("utf-8")
            self._longest = max(self._longest, len(name))
            self._names.write(name + b"\n")
        self.records += len(patients)

    def finish(self) -> None:
        """Make the file of what was appended."""
        self._stack.close()
        with zipfile.ZipFile(self._path, "x", zipfile.ZIP_STORED) as archive:
            with _open_member(archive, self._patient) as member:
                self._copy_patients(member)
            for tensor in self._tensors:
                dtype = _choose_type(tensor)
                with _open_member(archive, tensor.name) as member, self._parts[tensor.name].open("rb") as part:
                    member.write(_write_header((self.records, *tensor.shape), dtype))
                    while block := part.read(_PART):
                        member.write(block)
        self._path.chmod(0o600)
        self._remove_parts()

    def discard(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):  # a full disk does not take what is still in memory
            self._stack.close()
        self._remove_parts()
        self._path.unlink(missing_ok=True)

    def _copy_patients(self, member: IO[bytes]) -> None:
        dtype = np.dtype(f"S{self._longest}")
        member.write(_write_header((self.records,), dtype))
        with self._patients.open("rb") as names:
            for name in names:
                member.write(name.removesuffix(b"\n").ljust(self._longest, b"\x00"))

    def _remove_parts(self) -> None:
        for part in (*self._parts.values(), self._patients):
            part.unlink(missing_ok=True)


def _choose_type(tensor: Numbers | Ids | Flags) -> np.dtype[Any]:
    """Choose how a tensor is stored: float32, the smallest integer that holds its ids, one byte for a flag."""
    if isinstance(tensor, Numbers):
        return np.dtype("<f4")
    if isinstance(tensor, Flags):
        return np.dtype("bool")
    return next(dtype for dtype in _INTEGERS if tensor.values - 1 <= np.iinfo(dtype).max)


def _open_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open a new member, with a fixed date, so that the same records give the same bytes."""
    info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    return archive.open(info, "w", force_zip64=True)


def _write_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    out = io.BytesIO()
    npy.write_array_header_1_0(out, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return out.getvalue()


def count_bytes(tensors: Tensors) -> int:
    """Count the bytes that one record takes in a snapshot, without its patient."""
    return sum(math.prod(tensor.shape) * _choose_type(tensor).itemsize for tensor in tensors)
