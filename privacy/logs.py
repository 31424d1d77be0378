"""Write a program's log: bounded in size, with problems in a file of their own.

Rules:

* ``NAME.log`` has everything from the level INFO up. ``NAME-problems.log`` has warnings, refusals and errors alone,
  so that a busy week does not displace them. Both are bounded in size, and only their owner can read them.
* Other libraries log every call: of these only warnings and errors are kept.
* A message that repeats is written once an hour.
* A log that cannot be written, as on a full disk, ends nothing: stderr has a sentence about it once an hour, without
  what was to be written.
* With ``--log-json`` a line is one JSON object (``time`` in UTC, ``level``, ``logger``, ``message``, and ``exception``
  where there is one). What :data:`SHOWN` names goes to stderr too, for a container's collector. All else stays in
  the files, since a site's log may hold figures that never leave.
"""

import json
import logging
import math
import os
import sys
import time
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final, TextIO

from privacy.command_line import discard, say

MOST_BYTES: Final = 5_000_000
FILES: Final = 4
"""How many older files are kept beside the current one."""
LINE: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
SHOWN: Final = (
    "activity",
    "client.connection.message_listener",
    "client.connection.service",
    "client.site.hooks",
    "privacy.metrics",
    "server",
)
"""Loggers whose lines hold nothing computed from records, nor what an unexpected error says."""
_AGAIN_S: Final = 3600.0
_TALKATIVE: Final = ("httpx", "httpcore", "flwr", "grpc", "urllib3", "matplotlib")


def log_to(folder: Path, name: str, *, as_json: bool = False) -> None:
    """Write this process's log to ``folder``, and nowhere else; with ``as_json`` as JSON, and some to stderr."""
    for each in _TALKATIVE:
        logging.getLogger(each).setLevel(logging.WARNING)
    handlers: list[logging.Handler] = [
        open_bounded_log(folder / f"{name}.log"),
        open_bounded_log(folder / f"{name}-problems.log"),
    ]
    handlers[1].setLevel(logging.WARNING)
    if as_json:
        handlers.append(_Shown())
        handlers[2].addFilter(_NotAgain())
        handlers[2].addFilter(lambda record: may_be_shown(record.name))
        for handler in handlers:
            handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


def may_be_shown(logger: str) -> bool:
    """Return whether the lines of this logger may be seen outside the installation's own folder."""
    return any(logger == each or logger.startswith(f"{each}.") for each in SHOWN)


def open_bounded_log(path: Path, line: str = LINE) -> RotatingFileHandler:
    """Open a handler that writes to ``path``, at most about 25 MB in all its files."""
    handler = _OwnersAlone(path, maxBytes=MOST_BYTES, backupCount=FILES, encoding="utf-8")
    handler.setFormatter(logging.Formatter(line))
    handler.addFilter(_NotAgain())
    return handler


class _OwnersAlone(RotatingFileHandler):
    """A rotating log that others cannot read, whatever the umask."""

    _said_at = -math.inf

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name in logging
        """Say that the log cannot be written; Python's own words about it have the record's text."""
        error, now = sys.exception(), time.monotonic()
        if now - self._said_at >= _AGAIN_S:
            self._said_at = now
            why = error.strerror if isinstance(error, OSError) else type(error).__name__
            say(f"{self.baseFilename}: the log cannot be written: {why}; the program goes on without it")

    def _open(self) -> TextIOWrapper:
        def opener(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        return open(self.baseFilename, "a", encoding=self.encoding, opener=opener)


class _Shown(logging.StreamHandler[TextIO]):
    """Writes to stderr, as long as somebody takes it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name in logging
        """Drop the line, and further ones where nobody takes them; they stand in the file."""
        if isinstance(sys.exception(), OSError):
            discard(self.stream)


class _JsonLines(logging.Formatter):
    """Formats a record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a name that JSON cannot hold is escaped, so that the line stays one."""
        milliseconds = int(record.created * 1000)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
        fields = {
            "time": f"{moment}.{milliseconds % 1000:03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


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
