"""A file without a name: bytes that need not fit into memory, and are gone with the process."""

import mmap
import tempfile
from pathlib import Path

from privacy.errors import StorageError
from privacy.files import write_whole


class Spool:
    """Bytes on the disk of ``folder``, written once from the start. Nobody else can open them.

    Raises:
        StorageError: the folder cannot be written; so do the methods.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - the spool closes it
        except OSError as error:
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
