"""Refuse a path that is no file with an end, and compute the SHA-256 of a file while it is read."""

import hashlib
import io
import stat
from pathlib import Path
from typing import BinaryIO

from privacy.errors import DataError


class HashedFile(io.RawIOBase):
    """A file that computes the SHA-256 of what is read from it."""

    def __init__(self, raw: BinaryIO | io.FileIO) -> None:
        """Begin with the file ``raw``."""
        self._raw = raw
        self._hash = hashlib.sha256()
        self.first = b""
        """Its first bytes."""

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Read into ``buffer``; return the number of bytes."""
        count: int = self._raw.readinto(buffer) or 0  # type: ignore[union-attr]
        self._hash.update(memoryview(buffer)[:count])
        self.first = self.first or bytes(memoryview(buffer)[: min(count, 8)])
        return count

    @property
    def sha256(self) -> str:
        """The SHA-256 of what has been read, hexadecimal."""
        return self._hash.hexdigest()


def require_regular_file(path: Path, *, if_empty: str = "export it again, or copy it again") -> None:
    """Refuse, before it is opened, what has no end, or is empty.

    Args:
        path: the file.
        if_empty: what the message says of an empty file: what was expected, or what to do.

    Raises:
        OSError: there is nothing.
        DataError: it is a folder, a device or a pipe, or has no bytes.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
        raise DataError(f"cannot be read: expected a file, got {kind}")
    if status.st_size == 0:
        raise DataError(f"is empty; {if_empty}")
