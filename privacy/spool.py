"""A file without a name: bytes that need not fit into memory, and are gone with the process."""

import mmap
import os
import tempfile
from pathlib import Path

from privacy.errors import StorageError
from privacy.files import write_whole


class Spool:
    """Bytes on the disk of ``folder``, written once from the start. Nobody else can open them.

    Args:
        folder: on the disk that holds them.
        reserved: bytes for which room is taken now; more can be written as long as there is room.

    Raises:
        StorageError: the folder cannot be written, or has no room; so do the methods.
    """

    def __init__(self, folder: Path, reserved: int = 0) -> None:
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - the spool closes it
        except OSError as error:
            raise self._explain(error) from None
        try:
            if reserved:
                os.posix_fallocate(self._file.fileno(), 0, reserved)
        except OSError as error:
            self.close()
            raise self._explain(error) from None
        self.size = 0
        """Bytes written so far."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``."""
        try:
            write_whole(self._file, data)
        except OSError as error:
            raise self._explain(error) from None
        self.size += len(data)

    def read(self, start: int, count: int) -> bytes:
        """Return ``count`` bytes that were written, from ``start`` on."""
        try:
            return os.pread(self._file.fileno(), count, start)
        except OSError as error:
            raise StorageError(f"{self._folder}: cannot be read: {error.strerror}") from None

    def map(self) -> memoryview:
        """Return what was written, without reading it into memory; it stays readable after :meth:`close`."""
        if not self.size:
            return memoryview(b"")
        return memoryview(mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ))

    def close(self) -> None:
        """Free the file, once nothing that was mapped is used any more."""
        self._file.close()

    def _explain(self, error: OSError) -> StorageError:
        return StorageError(f"{self._folder}: cannot be written: {error.strerror}")
