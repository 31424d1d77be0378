"""Write the output of Flower's processes to a log of limited size, each line with its time.

Several processes write, and none of them would limit the size of Flower's own log files. They write to a pipe
instead, which the owner of the SuperLink reads. Colour codes are removed.
"""

import logging
import re
import subprocess
import threading
from collections import deque
from pathlib import Path
from typing import IO, Final

from privacy.logs import open_bounded_log

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST_LINE: Final = 4000
_KEPT_LINES: Final = 200
_LAST_S: Final = 2.0


class LinkLog:
    """The log of one SuperLink and of the processes it starts, until all of them have ended.

    Args:
        path: the log file.
        process: the SuperLink, started with its output in a pipe.
    """

    def __init__(self, path: Path, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        self._process = process
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._handler = open_bounded_log(path, "%(asctime)s %(message)s")
        self._reader = threading.Thread(
            target=self._read, args=(process.stdout,), name="superlink-log", daemon=True
        )
        self._reader.start()

    def read_last_lines(self) -> str:
        """Return the last line with an error, or else the last line, for an error message."""
        if self._process.poll() is not None:
            self._reader.join(_LAST_S)
        lines = list(self._lines)
        return next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "nothing")[:400]

    def close(self) -> None:
        """Wait until the output is written, and close the log."""
        self._reader.join(_LAST_S)
        self._handler.close()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(_LONGEST_LINE):
                text = _ANSI.sub("", line.decode(errors="replace")).strip()
                if text:
                    self._lines.append(text)
                    self._handler.handle(logging.LogRecord("flower", logging.INFO, "", 0, text, (), None))
