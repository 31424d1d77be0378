"""Run training in a warm child process: torch, the data and the device are loaded once and kept.

The agent holds keys, ledger and network; the child holds records and the device.

Rules:

* this module imports no torch; the child does;
* one request at a time over a pipe. An :class:`~privacy.errors.Error` is passed on as itself, anything else as a
  sentence that names its class only (its text could hold a value; the log has it in full);
* a child that crashed is reported in a :class:`~privacy.errors.TrainingError`, and the next call starts another;
* a child ends when its parent does, however the parent ended, even in the middle of a step;
* everything the child prints goes to the log file, which stays at the site.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, cast

from client.data.dataset import StudyFiles
from client.training.jobs import Job, R
from client.training.session import TrainingSession
from privacy.errors import Error, TrainingError
from privacy.process_lifetime import leave_terminal_to_parent
from privacy.study import Terms

_log = logging.getLogger(__name__)
_LOG_BYTES: Final = 10_000_000
_STOP_S: Final = 5.0  # a child that has not stopped by then is killed


class Worker:
    """A :class:`TrainingSession` in a child process.

    The child starts at the first call, and again after it crashed. Use as a context manager.

    Args:
        terms: the study.
        files: the site's registered data.
        device: ``auto``, ``cpu`` or ``cuda``.
        log_file: the child's output is appended here.
        precision: ``float32`` or ``bfloat16`` (``client/training/device.py``).
    """

    def __init__(
        self, terms: Terms, files: StudyFiles, device: str, log_file: Path, precision: str = "float32"
    ) -> None:
        self._setup = _Setup(terms, files, device, precision)
        self._log_file = log_file
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is no child."""
        return self._child.process.pid if self._child else None

    def run(self, job: Job[R]) -> R:
        """Do the work of ``job`` in the child; see :class:`~client.training.interface.TrainingInterface`.

        Raises:
            TrainingError: the child crashed; the next job starts another.
        """
        if self._child is None:
            self._child = self._start()
        try:
            self._child.pipe.send(job)
            succeeded, answer = self._child.pipe.recv()
        except (EOFError, OSError):
            sentence = _describe_exit(self._child.process, self._log_file)
            self.close()
            raise TrainingError(sentence) from None
        if not succeeded:
            raise _rebuild_error(*answer)
        return cast("R", answer)

    def close(self) -> None:
        """End the child; a later call starts another."""
        child, self._child = self._child, None
        if child is None:
            return
        child.pipe.close()  # the child reads the end of the pipe and leaves
        child.process.join(_STOP_S)
        if child.process.is_alive():
            child.process.kill()
            child.process.join()
        child.process.close()

    def _start(self) -> _Child:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(
            target=_serve, args=(theirs, self._setup, self._log_file), name="consilium-trainer", daemon=True
        )
        process.start()
        theirs.close()  # or the end of the pipe would not show here when the child ends
        return _Child(process, ours)


class _Setup(NamedTuple):
    """The arguments of a session."""

    terms: Terms
    files: StudyFiles
    device: str
    precision: str


class _Child(NamedTuple):
    process: SpawnProcess
    pipe: Connection


def _describe_exit(process: SpawnProcess, log_file: Path) -> str:
    """Describe in one sentence how a child ended."""
    process.join(_STOP_S)
    code = process.exitcode
    if code is not None and code < 0:
        cause = f"was ended by {signal.Signals(-code).name}"
        hint = " (often the sign of too little memory)" if -code == signal.SIGKILL else ""
    else:
        cause, hint = f"ended with exit code {code}", ""
    return f"the training process {cause}{hint}; {log_file} has its last lines; the next call starts a new one"


def _rebuild_error(kind: type[Error], parts: tuple[Any, ...], attributes: dict[str, Any]) -> Error:
    """Rebuild an error of the child, whatever arguments its constructor takes."""
    error = kind.__new__(kind)
    error.args = parts
    error.__dict__.update(attributes)
    return error


def _serve(pipe: Connection, setup: _Setup, log_file: Path) -> None:
    """Answer jobs in the child until the pipe ends."""
    leave_terminal_to_parent()
    _write_everything_to(log_file)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    session: TrainingSession | None = None
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)  # all is written; an orderly shutdown of torch would take seconds
        try:
            session = session or TrainingSession(*setup)
            answer: tuple[bool, object] = (True, session.run(job))
        except Error as error:
            answer = (False, (type(error), error.args, error.__dict__))
        except Exception as error:
            _log.exception("%s failed", type(job).__name__)
            sentence = f"local training failed with {type(error).__name__}; see {log_file}"
            answer = (False, (TrainingError, (sentence,), {}))
        with contextlib.suppress(OSError):  # the parent has ended; the next recv raises
            pipe.send(answer)


def _write_everything_to(log_file: Path) -> None:
    """Send what Python, torch and drivers print to the log file."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    if log_file.exists() and log_file.stat().st_size > _LOG_BYTES:
        log_file.replace(log_file.with_name(f"{log_file.name}.1"))
    descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
