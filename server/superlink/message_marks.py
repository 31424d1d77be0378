"""Mark across processes that there is something to fetch: empty files that are touched.

* A study's run sends messages; the coordinator's process tells sites that connect to its control plane. Sites that are
  not told find their messages at their next look.
* The SuperLink receives replies; runs look for them. A run that misses a mark finds its reply at its next look.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from privacy.errors import FederationError

_REPLIES: Final = "replies"


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


class ReplyMark:
    """The mark in the SuperLink's folder that some site has sent something to some run."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _REPLIES

    def mark(self) -> None:
        """Mark that something has come; what cannot be marked is found later."""
        with contextlib.suppress(OSError):
            self._path.touch(mode=0o600)

    def read(self) -> int:
        """Return when something came last, in nanoseconds of the file system's clock; 0 before that."""
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0
