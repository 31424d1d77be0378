"""Start the processes of the demonstration, restart those that end, and stop them all at the end.

* Each is a child in its own session, so that Ctrl-C reaches only the demonstration, which stops the children in
  order.
* If the demonstration is killed, the kernel ends its children.
* No other process is ever signalled.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from privacy.errors import CoordinatorError
from privacy.process_lifetime import end_with_parent

_STOP_S: Final = 20.0
_RESTARTS: Final = 5


@dataclass
class _Kept:
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes]
    starts: int = 1


@dataclass
class Processes:
    """The running processes, by name; a context manager that stops all of them at its end."""

    _kept: dict[str, _Kept] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, command: list[str], log: Path) -> None:
        """Start ``command``, with its output in the file ``log``."""
        self._kept[name] = _Kept(command, log, _spawn(command, log))

    def restart_ended(self) -> list[str]:
        """Restart the processes that have ended, and return their names.

        Raises:
            CoordinatorError: a process ends repeatedly; the message has the last line of its log.
        """
        again = []
        for name, kept in self._kept.items():
            if kept.process.poll() is None:
                continue
            if kept.starts >= _RESTARTS:
                raise CoordinatorError(f"'{name}' ends again and again: {read_last_line(kept.log)}")
            kept.process, kept.starts = _spawn(kept.command, kept.log), kept.starts + 1
            again.append(name)
        return again

    def stop(self) -> None:
        """Stop all processes: SIGTERM first, SIGKILL for those that do not end in time."""
        # Sites before the coordinator, which was started first.
        for kept in reversed(self._kept.values()):
            if kept.process.poll() is None:
                kept.process.terminate()
        deadline = time.monotonic() + _STOP_S
        for kept in self._kept.values():
            try:
                kept.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                kept.process.kill()
                kept.process.wait()
        self._kept.clear()


def find_program(name: str) -> str:
    """Return the path of the console script ``name`` of this installation."""
    return str(Path(sys.executable).parent / name)


def run_to_end(command: list[str]) -> str:
    """Run ``command`` and return its standard output.

    Raises:
        CoordinatorError: it failed; the message has the last line of its standard error.
    """
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=partial(end_with_parent, os.getpid()),
    )
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CoordinatorError(f"'{Path(command[0]).name} {' '.join(command[1:4])} ...' failed: {words[-1]}")
    return done.stdout


def read_last_line(log: Path) -> str:
    """Return the last line of a log, for an error message."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509 - no thread of ours holds a lock here
        )
