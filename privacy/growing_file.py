"""A file without a name that one thread fills while others read its beginning; it is hashed on the way.

* What is written does not change. Whoever reads it again, from any place, gets the same bytes.
* Who reads waits for what is not there yet, and is told when it never comes.
* It is never whole in memory.
"""

import hashlib
import threading
import weakref
from pathlib import Path

from privacy.spool import Spool


class GrowingFile:
    """Bytes on the disk of ``folder``, written once from the start, by one thread.

    Args:
        folder: on the disk that holds them.
        reserved: bytes for which room is taken now; more can be written as long as there is room.

    Raises:
        StorageError: the folder cannot be written, or has no room; so do the methods that write and read.
    """

    def __init__(self, folder: Path, reserved: int = 0) -> None:
        self._spool = Spool(folder, reserved)
        self._digest = hashlib.sha256()
        self._whole: bool | None = None
        self._grown = threading.Condition()
        weakref.finalize(self, self._spool.close)  # who reads may hold it longer than who wrote

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._spool.size

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written so far, in hexadecimal; for the thread that writes, or after the end."""
        return self._digest.hexdigest()

    @property
    def failed(self) -> bool:
        """Whether it has ended without being whole."""
        return self._whole is False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``."""
        with self._grown:
            self._spool.write(data)
            self._grown.notify_all()
        self._digest.update(data)

    def end(self, *, whole: bool) -> None:
        """Say that nothing more is written, and whether all that was to come is there, as it was to be."""
        with self._grown:
            self._whole = whole
            self._grown.notify_all()

    def read(self, start: int, stop: int) -> bytes | None:
        """Return the bytes from ``start`` to ``stop`` once they are there; None if they never come."""
        with self._grown:
            self._grown.wait_for(lambda: self._spool.size >= stop or self._whole is not None)
            if self._spool.size < stop:
                return None
        return self._spool.read(start, stop - start)

    def wait_until_whole(self) -> bool:
        """Wait until nothing more is written; return whether it is whole."""
        with self._grown:
            self._grown.wait_for(lambda: self._whole is not None)
        return not self.failed

    def map(self) -> memoryview:
        """Return what was written, without reading it into memory."""
        return self._spool.map()
