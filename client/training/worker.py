"""Run training in a warm child process: torch, the data and the device are loaded once and kept.

The agent holds keys, ledger and network; the child holds records and the device, and is confined
(``client/training/confinement.py``).

Rules:

* this module imports no torch; the child does (``client/training/child.py``);
* one job at a time over a socket, as documents and arrays. What the child answers is bounded and checked
  (``client/training/answer_format.py``), and never unpickled: the child is not trusted with the site's process;
* words of a child that sees the data do not leave. What refuses the study's terms, before any record is read, is asked
  a second time of a child that sees none: what that one says may leave;
* a job that reads records goes to a child that was told who objects, or to none;
* a child that crashed, or took longer than it may, is reported in a :class:`~privacy.errors.TrainingError`, and the
  next call starts another. So does a file that could not be read, since it may have come back under the same name;
* a child ends when its parent does, however the parent ended, even in the middle of a step;
* the child keeps what a step has freed for the next one (:data:`KEPT_MEMORY`);
* everything the child prints goes to the log file, which stays at the site.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self, cast

from client.data.dataset import StudyFiles
from client.site.launcher import Confinement
from client.training import frames
from client.training.answer_format import compute_most_bytes, read_answer
from client.training.confinement import choose_confinement, confine, make_environment
from client.training.free_memory import describe_group_limit
from client.training.job_format import make_setup, pack, reads_records, rekey_objections, split_job
from client.training.jobs import Job, R
from privacy.errors import DataUnavailableError, RefusedError, TermsError, TrainingError
from privacy.study import Terms

_log = logging.getLogger(__name__)
_LOG_BYTES: Final = 10_000_000
_STOP_S: Final = 5.0  # a child that has not stopped by then is killed
_PROGRAM: Final = (sys.executable, "-m", "client.training.child")
KEPT_MEMORY: Final = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    "NUMPY_MADVISE_HUGEPAGE": "0",
}
"""Variables by which the GNU C library keeps up to 1 GiB that is free, in blocks of up to 32 MiB, its most.

Without them it gives the activations back after every step, and the kernel clears the same pages for the next: a tenth
to a third of a step on images. Source: mallopt(3). Larger arrays are given back: in small pages, since the host of a
virtual machine takes free huge pages back, and to get them again takes seven times as long.
"""


class Worker:
    """A :class:`~client.training.session.TrainingSession` in a child process.

    The child starts at the first call, and again after it crashed. Use as a context manager.

    Args:
        terms: the study.
        files: the site's registered data.
        device: ``auto``, ``cpu`` or ``cuda``.
        log_file: the child's output is appended here.
        precision: ``float32`` or ``bfloat16`` (``client/training/device.py``).
        confinement: how much the site insists on.
        site_folder: the folder of keys and ledger, which a confined child never sees.
        limit_s: a job that takes longer is ended, in seconds; None never.
        program: what the child runs; a descriptor's number is added.
    """

    def __init__(
        self,
        terms: Terms,
        files: StudyFiles,
        device: str,
        log_file: Path,
        precision: str = "float32",
        *,
        confinement: Confinement = Confinement.AVAILABLE,
        site_folder: Path | None = None,
        limit_s: float | None = None,
        program: Sequence[str] = _PROGRAM,
    ) -> None:
        self._terms, self._files, self._device, self._precision = terms, files, device, precision
        self._log_file, self._confinement, self._site_folder = log_file, confinement, site_folder
        self._limit_s, self._program = limit_s, program
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
            TrainingError: the child crashed, took too long, or answered something else; the next job starts another.
        """
        needs_records = reads_records(job)
        if self._child is None or (needs_records and not self._child.leaves_out):
            self.close()
            self._child = self._start(leaves_out=needs_records)
        try:
            return self._ask(self._child, job)
        except (TermsError, RefusedError):
            if needs_records:
                raise
        # the child sees files, so its words must not leave: they are asked of one that sees none
        self.close()
        self._child = self._start(leaves_out=False, with_files=False)
        try:
            return self._ask(self._child, job)
        finally:
            self.close()

    def _ask(self, child: _Child, job: Job[R]) -> R:
        """Give ``job`` to a child, and check its answer."""
        request, arrays, draw = split_job(job)
        late = threading.Event()
        watch = None if self._limit_s is None else threading.Timer(self._limit_s, _end, (child.process, late))
        try:
            if watch is not None:
                watch.daemon = True
                watch.start()
            frames.send(child.stream, *pack(request, arrays))
            frames.send(child.stream, draw)
            data = frames.receive(child.stream, compute_most_bytes(request, arrays, self._terms))
        except (EOFError, OSError):
            sentence = self._describe_end(child.process, is_late=late.is_set())
            self.close()
            raise TrainingError(sentence) from None
        except frames.TooLongError as error:
            self.close()
            raise TrainingError(f"the training process answers with {error}; it was ended") from None
        finally:
            if watch is not None:
                watch.cancel()
        try:
            return cast("R", read_answer(data, request, arrays, self._terms, with_records=child.with_files))
        except DataUnavailableError:
            self.close()
            raise

    def close(self) -> None:
        """End the child; a later call starts another."""
        child, self._child = self._child, None
        if child is None:
            return
        child.stream.close()  # the child reads the end of the socket and leaves
        try:
            child.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()

    def _start(self, *, leaves_out: bool, with_files: bool = True) -> _Child:
        """Start a child.

        Args:
            leaves_out: whether it is told who objects, for which the site reads identifiers.
            with_files: whether it sees the study's data.
        """
        files = rekey_objections(self._files) if leaves_out else replace(self._files, objections=None)
        found = choose_confinement(self._confinement)
        ours, theirs = socket.socketpair()
        with theirs, _open_log(self._log_file) as log:
            command = confine(
                [*self._program, str(theirs.fileno())],
                found,
                _list_visible(files, with_data=with_files),
                self._site_folder,
                graphics=self._device != "cpu",
            )
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(theirs.fileno(),),
                    cwd="/",
                    env={**make_environment(), **KEPT_MEMORY, **describe_group_limit()},
                    start_new_session=True,  # Ctrl-C is for the site, which lets the job end
                )
            except OSError as error:
                ours.close()
                raise TrainingError(f"the training process does not start: {error.strerror}") from None
        objections = self._files.objections
        child = _Child(process, ours, with_files, leaves_out or objections is None or not objections.since)
        setup = make_setup(self._terms, files, self._device, self._precision)
        try:
            frames.send(child.stream, *pack(setup, {}))
        except OSError:  # it ended at once; the job that follows reports it
            _log.debug("the training process ended before its setup")
        return child

    def _describe_end(self, process: subprocess.Popen[bytes], *, is_late: bool) -> str:
        """Describe in one sentence how a child ended."""
        end = f"{self._log_file} has its last lines; the next call starts a new one"
        if is_late:
            return f"the training process took longer than {self._limit_s:g} s and was ended; {end}"
        try:
            code = process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            return f"the training process closed its connection, and was ended; {end}"
        number = -code if code < 0 else code - 128  # bubblewrap reports a signal as a shell does
        if number in set(signal.Signals):
            cause = f"was ended by {signal.Signals(number).name}"
            hint = " (often the sign of too little memory)" if number == signal.SIGKILL else ""
        else:
            cause, hint = f"ended with exit code {code}", ""
        return f"the training process {cause}{hint}; {end}"


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    stream: socket.socket
    with_files: bool
    leaves_out: bool
    """Whether it may read records: it knows who objects, or nobody does."""


def _list_visible(files: StudyFiles, *, with_data: bool) -> list[Path]:
    weights = [] if files.weights is None else [files.weights]
    return [files.train, files.test, *weights] if with_data else weights


def _end(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _open_log(path: Path) -> BinaryIO:
    """Open the log to append to it; of a long one the end stays beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
