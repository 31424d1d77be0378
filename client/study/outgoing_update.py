"""Hold a sealed update on disk while it is sealed and sent; it is never whole in memory.

* One thread fills it, block by block. Another may read it from the start meanwhile (``privacy/growing_file.py``).
* Its mask names it, and its length follows from the layout: both are known before the first block. Its digest is known
  when it is full, and is computed on the way.
* Its room on the disk is taken before the first block, so that a full disk is noticed before anything can leave.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from privacy.growing_file import GrowingFile
from privacy.protocol.chunks import CHUNK_BYTES
from privacy.protocol.envelope import BlobNote


class OutgoingUpdate:
    """One sealed update of ``study``, ``length`` bytes long, in a file of ``folder`` that has no name.

    Args:
        folder: on the disk that holds it.
        study: the study's identifier.
        mask: ``own_mask`` of its header; another one for each sealing.
        length: its bytes, once it is full.

    Raises:
        StorageError: the disk has no room for it.
    """

    def __init__(self, folder: Path, study: str, mask: str, length: int) -> None:
        self.study = study
        self.mask = mask
        self.length = length
        self._file = GrowingFile(folder, length)

    @property
    def note(self) -> BlobNote:
        """Length and digest of what was written."""
        return BlobNote(length=self._file.size, sha256=self._file.sha256)

    def fill(self, blocks: Iterable[bytes]) -> None:
        """Write the blocks as they come; once. If they fail, who reads has the beginning alone.

        Raises:
            StorageError: the disk cannot be written.
        """
        whole = False
        try:
            for block in blocks:
                self._file.write(block)
            whole = True
        finally:
            self._file.end(whole=whole)

    def read(self) -> Iterator[bytes]:
        """Yield it from the start, in pieces of ``CHUNK_BYTES``, each when it is there.

        It ends early if the update is never full.
        """
        for start in range(0, self.length, CHUNK_BYTES):
            piece = self._file.read(start, min(start + CHUNK_BYTES, self.length))
            if piece is None:
                return
            yield piece

    def map(self) -> memoryview:
        """Return what was written, without reading it into memory."""
        return self._file.map()


OnSealing = Callable[[OutgoingUpdate], None]
"""Told of an update before its first block is sealed, so that it may be sent meanwhile. Must not fail or wait."""


def send_later(_: OutgoingUpdate) -> None:
    """Leave an update to be sent when it is full."""
