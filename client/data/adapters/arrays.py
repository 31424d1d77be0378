"""Read named arrays of a ``.npz`` file (a zip archive of numpy arrays), in parts where they are not compressed.

Sources: the zip format (PKWARE APPNOTE 6.3.10), the npy format (numpy.lib.format).

Rules:

* nothing is unpickled: an array of Python objects is refused by its header;
* of an array that is not compressed, records are read from the file when they are asked for (:class:`StoredArray`), so
  that it may be larger than the memory. One that is compressed or in Fortran order is read into memory, up to
  ``MAX_IN_MEMORY`` bytes for all of them;
* the file's SHA-256 and the checksums of the arrays are computed once, when the file is opened. It stays open: a file
  that is replaced is read on as it was, one that is written to or cut is refused before anything more is read;
* a mistake or an error names arrays, types and shapes, never a value.

The file is read by position and not mapped into memory: a mapped file that is cut ends the process (SIGBUS), and the
pages around those that were used count as its memory.
"""

import hashlib
import math
import os
import weakref
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from client.data.adapters.hashed_file import require_regular_file
from client.data.adapters.rows import simplify_spelling
from client.data.mistakes import Mistake
from privacy.errors import DataError, DataUnavailableError

MAX_FILE_BYTES: Final = 1 << 40
MAX_IN_MEMORY: Final = 4 << 30
MAX_MEMBERS: Final = 10_000  # of the archive
_PART: Final = 1 << 20  # bytes read at a time
Rows = NDArray[np.integer[Any]] | NDArray[np.bool_] | slice
"""Records of an array: their places, a flag for each, or a slice."""

_LOCAL_HEADER: Final = 30  # bytes, before the name
_ENCRYPTED: Final = 1  # flag of a member
_OTHER_FORMATS: Final = {
    b"\x93NUMPY": "it is a single array (.npy): save it by name with numpy.savez",
    b"\x89HDF": "it looks like HDF5: save its arrays with numpy.savez",
    b"\x1f\x8b": "it looks like a gzip archive: unpack it",
    b"PAR1": "it looks like a Parquet file",
    b"\x80\x04": "it looks like a Python pickle, which is never read",
    b"\x80\x05": "it looks like a Python pickle, which is never read",
}


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    length: int
    """Of the header, in bytes."""

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class _OpenFile:
    """A file that is open for as long as something reads from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        self.size = os.fstat(self.descriptor).st_size
        self._stamp = self._take_stamp()

    def require_unchanged(self) -> None:
        """Refuse to read on if the file was written to since it was opened.

        Raises:
            DataError: it was.
        """
        if self._take_stamp() != self._stamp:
            raise DataError(f"{self.path}: the file changed while it was used; register the new data first")

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill ``view`` with the bytes from ``offset`` on.

        Raises:
            DataError: the file ends before.
        """
        done = 0
        while done < len(view):
            count = os.preadv(self.descriptor, [view[done:]], offset + done)
            if not count:
                raise DataError(f"{self.path}: the file changed while it was used; register the new data first")
            done += count

    def _take_stamp(self) -> tuple[int, int]:
        status = os.fstat(self.descriptor)
        return status.st_size, status.st_mtime_ns


class StoredArray:
    """An array in a file, in C order: ``array[rows]`` reads the records ``rows``, as they are there."""

    def __init__(self, file: _OpenFile, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._file = file
        self._offset = offset
        self.shape = shape
        self.dtype = dtype

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    def __getitem__(self, rows: Rows) -> NDArray[Any]:
        """Read records.

        Raises:
            DataError: the file was written to since it was opened.
        """
        places = _list_places(rows, len(self))
        record = math.prod(self.shape[1:]) * self.dtype.itemsize  # bytes
        out = np.empty((len(places), *self.shape[1:]), self.dtype)
        view = out.reshape(-1).view(np.uint8).data
        self._file.require_unchanged()
        ends = np.flatnonzero(np.diff(places, append=-2) != 1) + 1  # of runs of neighbours, read at once
        begin = 0
        for end in ends.tolist():
            start = self._offset + int(places[begin]) * record
            self._file.read_into(view[begin * record : end * record], start)
            begin = end
        return out

    def read_values(self, start: int, stop: int) -> NDArray[Any]:
        """Read the values from number ``start`` to before ``stop``, whichever records they are of; (values,).

        Raises:
            DataError: as for records.
        """
        out = np.empty(min(stop, self.size) - start, self.dtype)
        self._file.require_unchanged()
        self._file.read_into(out.view(np.uint8).data, self._offset + start * self.dtype.itemsize)
        return out


def _list_places(rows: Rows, records: int) -> NDArray[np.integer[Any]]:
    """List the places of ``rows`` among ``records``.

    Raises:
        IndexError: one is none of these records.
    """
    if isinstance(rows, slice):
        return np.arange(*rows.indices(records))
    if rows.dtype == np.bool_:
        return np.arange(records)[rows]
    if len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < records):
        raise IndexError(f"expected records from 0 to {records - 1}")
    return rows.astype(np.int64)


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """The arrays of a file that were asked for.

    Attributes:
        arrays: by name; those that the file lacks, or that cannot be read, are not in it.
        loaded: those that had to be read into memory, each with the reason.
        mistakes: arrays that are absent or cannot be read.
        sha256: of the file's bytes, hexadecimal.
    """

    arrays: Mapping[str, "StoredArray | NDArray[Any]"] = field(repr=False)
    loaded: Mapping[str, str]
    mistakes: tuple[Mistake, ...]
    sha256: str


def read_arrays(path: Path, names: Sequence[str]) -> ArrayFile:
    """Open the ``.npz`` file ``path`` and find the arrays ``names``.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it is not such a file, or has none of the arrays.
    """
    try:
        require_regular_file(path, if_empty="expected a .npz file, as numpy.savez writes it")
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise DataError(f"expected at most {MAX_FILE_BYTES} bytes, got {size}; leave out records")
        file = _OpenFile(path)
        with open(file.descriptor, "rb", closefd=False) as opened:
            return _read_members(file, opened, names)
    except OSError as cause:
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None
    except DataError as error:
        raise DataError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def _read_members(file: _OpenFile, opened: IO[bytes], names: Sequence[str]) -> ArrayFile:
    archive = _open_archive(opened)
    members, mistakes = _find_members(archive, names)
    arrays, loaded, spans = dict[str, StoredArray | NDArray[Any]](), dict[str, str](), dict[str, _Span]()
    room = MAX_IN_MEMORY
    for name, member in members.items():
        try:
            header = _read_header(archive, member)
            if member.compress_type == zipfile.ZIP_STORED:
                spans[name] = _locate(file, member)
            if name in spans and not header.fortran_order:
                arrays[name] = StoredArray(file, spans[name].start + header.length, header.shape, header.dtype)
            else:
                loaded[name] = "in Fortran order" if name in spans else "compressed"
                arrays[name] = _load(archive, member, header, room, loaded[name])
                room -= header.nbytes
        except (DataError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as cause:
            reason = str(cause) if isinstance(cause, DataError) else "the file is damaged there"
            mistakes.append(Mistake(f"array '{name}': {reason}", name))
    sha256, damaged = _compute_digests(opened, spans)
    for name in damaged & arrays.keys():
        mistakes.append(Mistake(f"array '{name}': the file is damaged there: its checksum is another", name))
        del arrays[name]
    file.require_unchanged()
    return ArrayFile(arrays, loaded, tuple(mistakes), sha256)


def _open_archive(opened: IO[bytes]) -> zipfile.ZipFile:
    first = opened.read(8)
    hints = [words for magic, words in _OTHER_FORMATS.items() if first.startswith(magic)]
    if not first.startswith(b"PK"):
        hint = hints[0] if hints else "save the arrays with numpy.savez"
        raise DataError(f"expected a .npz file, got other bytes: {hint}")
    try:
        archive = zipfile.ZipFile(opened)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError):
        raise DataError("is no whole .npz file: it was cut off, or is still being written") from None
    if len(archive.infolist()) > MAX_MEMBERS:
        raise DataError(f"expected at most {MAX_MEMBERS} arrays, got {len(archive.infolist())}")
    return archive


def _find_members(
    archive: zipfile.ZipFile, names: Sequence[str]
) -> tuple[dict[str, zipfile.ZipInfo], list[Mistake]]:
    """Find the archive's member of each name, and what is wrong with the names."""
    listed = [each.filename.removesuffix(".npy") for each in archive.infolist()]
    mistakes = list[Mistake]()
    absent = [name for name in names if name not in listed]
    if absent:
        near = [
            f"did you mean '{other}' for '{name}'?"
            for name in absent
            for other in listed
            if other not in names and simplify_spelling(other) == simplify_spelling(name)
        ]
        sentence = "; ".join([f"lacks {len(absent)} arrays of the contract: {', '.join(absent)}", *near])
        if len(absent) == len(names):
            raise DataError(sentence)
        mistakes.append(Mistake(sentence))
    if twice := [name for name in names if listed.count(name) > 1]:
        mistakes.append(Mistake(f"has an array twice: {', '.join(twice)}"))
    once = {name for name in names if listed.count(name) == 1}
    found = zip(listed, archive.infolist(), strict=True)
    return {name: member for name, member in found if name in once}, mistakes


def _read_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Header:
    """Read the npy header of an array.

    Raises:
        DataError: it is none, the array holds no plain values, or has another length than the header says.
    """
    if member.flag_bits & _ENCRYPTED:
        raise DataError("is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError("is compressed in a way that numpy does not write; save it with numpy.savez")
    with archive.open(member) as file:
        try:
            version = npy.read_magic(file)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
            shape, fortran_order, dtype = read(file)
        except (ValueError, KeyError, TypeError, SyntaxError):
            raise DataError("is no numpy array of plain values") from None
        length = file.tell()
    if dtype.hasobject:
        raise DataError("holds Python objects, which are never read; save plain numbers or text")
    if dtype.fields is not None or dtype.subdtype is not None or dtype.itemsize == 0:
        raise DataError("has several values in one, or none; save plain numbers or text")
    if any(not isinstance(each, int) or each < 0 for each in shape):
        raise DataError("is no numpy array of plain values")
    header = _Header(shape, bool(fortran_order), dtype, length)
    if header.nbytes != member.file_size - length:
        raise DataError(
            f"expected {header.nbytes} bytes of values, as its header says, got {member.file_size - length}"
        )
    return header


class _Span(NamedTuple):
    """Bytes of the file that hold a member, and their checksum."""

    start: int
    stop: int
    checksum: int


def _locate(file: _OpenFile, member: zipfile.ZipInfo) -> _Span:
    """Find where the bytes of a member that is not compressed are (APPNOTE 4.3.7: local file header)."""
    local = os.pread(file.descriptor, _LOCAL_HEADER, member.header_offset)
    if len(local) < _LOCAL_HEADER or not local.startswith(b"PK\x03\x04"):
        raise DataError("the file is damaged there")
    lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")  # of name and extra
    start = member.header_offset + _LOCAL_HEADER + lengths
    stop = start + member.file_size
    if member.compress_size != member.file_size or stop > file.size:
        raise DataError("the file is damaged there")
    return _Span(start, stop, member.CRC)


def _load(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, header: _Header, room: int, reason: str
) -> NDArray[Any]:
    """Read an array into memory."""
    if header.nbytes > room:
        raise DataError(
            f"is {reason} and does not fit into memory: expected at most {MAX_IN_MEMORY} bytes of all such arrays; "
            "save it in C order with numpy.savez, which does not compress"
        )
    values = np.empty(header.nbytes, dtype=np.uint8)
    view, done = values.data, 0
    with archive.open(member) as file:
        file.read(header.length)
        while part := file.read(_PART):
            if done + len(part) > len(view):
                raise DataError("has more values than its header says")
            view[done : done + len(part)] = part
            done += len(part)
    if done != len(view):
        raise DataError("has fewer values than its header says")
    flat = values.view(header.dtype)
    return flat.reshape(header.shape[::-1]).T if header.fortran_order else flat.reshape(header.shape)


def _compute_digests(opened: IO[bytes], spans: Mapping[str, _Span]) -> tuple[str, set[str]]:
    """Compute the SHA-256 of the file, and the names of spans whose checksum is another, reading it once."""
    sha256, sums, place = hashlib.sha256(), dict.fromkeys(spans, 0), 0
    opened.seek(0)
    while part := opened.read(_PART):
        sha256.update(part)
        for name, span in spans.items():
            begin, end = max(span.start, place), min(span.stop, place + len(part))
            if begin < end:
                sums[name] = zlib.crc32(memoryview(part)[begin - place : end - place], sums[name])
        place += len(part)
    return sha256.hexdigest(), {name for name, span in spans.items() if sums[name] != span.checksum}
