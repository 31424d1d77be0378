"""Write a program's log: bounded in size, with problems in a file of their own.

Rules:

* ``NAME.log`` has everything from the level INFO up. ``NAME-problems.log`` has warnings, refusals and errors alone,
  so that a busy week does not displace them. Both are bounded in size, and only their owner can read them.
* Other libraries log every call: of these only warnings and errors are kept.
* A message that repeats is written once an hour.
"""

import logging
import os
import time
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

MOST_BYTES: Final = 5_000_000
FILES: Final = 4
"""How many older files are kept beside the current one."""
LINE: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_AGAIN_S: Final = 3600.0
_TALKATIVE: Final = ("httpx", "httpcore", "flwr", "grpc", "urllib3", "matplotlib")


def log_to(folder: Path, name: str) -> None:
    """Write this process's log to ``folder``, and nowhere else."""
    for each in _TALKATIVE:
        logging.getLogger(each).setLevel(logging.WARNING)
    handlers = [open_bounded_log(folder / f"{name}.log"), open_bounded_log(folder / f"{name}-problems.log")]
    handlers[1].setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


def open_bounded_log(path: Path, line: str = LINE) -> RotatingFileHandler:
    """Open a handler that writes to ``path``, at most about 25 MB in all its files."""
    handler = _OwnersAlone(path, maxBytes=MOST_BYTES, backupCount=FILES, encoding="utf-8")
    handler.setFormatter(logging.Formatter(line))
    handler.addFilter(_NotAgain())
    return handler


class _OwnersAlone(RotatingFileHandler):
    """A rotating log that others cannot read, whatever the umask."""

    def _open(self) -> TextIOWrapper:
        def opener(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        return open(self.baseFilename, "a", encoding=self.encoding, opener=opener)


class _NotAgain(logging.Filter):
    """Drops a message that is the same as the last one, for an hour."""

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[str, str] | None = None
        self._since = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` is to be written."""
        said, now = (record.name, record.getMessage()), time.monotonic()
        if said == self._last and now - self._since < _AGAIN_S:
            return False
        self._last, self._since = said, now
        return True
