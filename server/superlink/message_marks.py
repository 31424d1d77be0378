"""Mark that a message waits for a site, across processes: one empty file for each site, touched with every message.

A study's process sends messages; the coordinator's process tells sites that connect to its control plane. Sites that
are not told find their messages at their next look.
"""

import os
from pathlib import Path

from privacy.errors import FederationError


class MessageMarks:
    """The marks of one federation, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mark(self, site: str) -> None:
        """Mark that a message for ``site`` was sent.

        Raises:
            FederationError: the folder cannot be written.
        """
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._folder / site
            path.touch(mode=0o600)
            os.utime(path)
        except OSError as error:
            raise FederationError(f"{self._folder}: cannot be written: {error.strerror}") from None

    def read(self) -> dict[str, int]:
        """Return when each site was marked last, in nanoseconds of the file system's clock."""
        try:
            return {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(self._folder)}
        except OSError:  # no message was sent yet
            return {}
