"""Training in a warm child process: torch, the data and the device are loaded once and kept.

The agent holds keys, book and network; the child holds records and the device. Rules:

* this module imports no torch; the child does;
* one request at a time over a pipe; an :class:`~privacy.errors.Error` crosses as itself, anything else as a
  sentence that names its kind only (its text could hold a value; the log has it in full);
* a child that dies is named in a :class:`~privacy.errors.TrainingError`, and the next call starts another;
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
from collections.abc import Callable
from functools import cached_property
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from client.data.dataset import Patients, StudyFiles, one_by_one, read_study
from models.parameters.vector import Vector
from privacy.errors import Error, TrainingError
from privacy.mechanisms.distributed_noise import SharedNoise, share
from privacy.process_lifetime import leave_terminal_to_parent
from privacy.study import Terms, Unit

_log = logging.getLogger(__name__)
_LOG_BYTES: Final = 10_000_000
_STOP_S: Final = 5.0  # a child that was told to stop and has not by then is killed

Integers = NDArray[np.uint32]
Tensors = dict[str, NDArray[np.float32]]


class Training(Protocol):
    """What a site's protocol code needs from training."""

    def initial(self) -> Vector:
        """The shared model before the first round; (P,)."""
        ...

    def tensors(self, vector: Vector) -> Tensors:
        """The plain model that ``vector`` amounts to, adapters merged, own layers at their first values; by name."""
        ...

    def own_tensors(self, personal: Vector | None) -> Tensors:
        """The own layers ``personal``, (Q,), as named tensors; their first values without it."""
        ...

    def train(
        self,
        start: Vector,
        round_number: int,
        noise_multiplier: float | None,
        key: bytes,
        correction: Vector | None = None,
        personal: Vector | None = None,
    ) -> tuple[Vector, Vector]:
        """The update of one round's local training from ``start``, (P,), and the site's own layers afterwards, (Q,).

        ``key``, 32 secret bytes, decides sampling and noise: the same key repeats the same draw. ``correction``, (P,),
        is added to every gradient. ``personal``, (Q,), are the own layers now, None at their first values.
        """
        ...

    def share(
        self,
        start: Vector,
        round_number: int,
        noise: SharedNoise,
        variance: int,
        key: bytes,
        personal: Vector | None = None,
    ) -> tuple[Integers, Vector]:
        """This site's share of what a cohort noises together, with noise of ``variance``, (d,); and its own layers.

        One global step from ``start``, or the whole update of local training where the site is the unit. ``key`` and
        ``personal`` as for :meth:`train`.
        """
        ...

    def score(
        self,
        vector: Vector,
        noise_multiplier: float | None,
        personal: Vector | None = None,
        key: bytes | None = None,
    ) -> tuple[int, ...]:
        """The score histogram of the model ``vector`` on the test patients, noised unless None; (2 * bins,).

        With the own layers ``personal``, (Q,); without, with their first values. ``key``, 32 secret bytes, decides the
        noise; without it, the noise is fresh.
        """
        ...

    def close(self) -> None:
        """Let go of data and device."""
        ...


class InProcessTrainer:
    """Training in this process; what the child runs, and what an in-memory federation uses.

    Whatever needs records raises DataUnavailableError if the files cannot be read now, and DataError if they changed
    since they were registered.

    Raises:
        TermsError: the model cannot be built.
        RefusedError: ``weights``: the study's public weights cannot be used.
        TrainingError: the device is not available.
    """

    def __init__(self, terms: Terms, files: StudyFiles, device: str, precision: str = "float32") -> None:
        from client.training.device import Hardware
        from client.training.local_steps import begin_model
        from models.parameters.flatten import to_personal

        self._terms, self._files = terms, files
        self._public_patients = files.public_patients
        if terms.privacy.unit is Unit.RECORD:
            # the most records there can be: a public number
            self._public_patients *= files.contract.records_per_patient
        self._hardware = Hardware.chosen(device, precision)
        self._weights = files.weights
        self._module = begin_model(terms, self._weights)[0].to(self._hardware.device)
        self._first_personal = to_personal(self._module)

    @cached_property
    def _tables(self) -> tuple[Patients, Patients]:
        """The training and the test patients; read at first use, since admission must not depend on a record."""
        training, testing = read_study(self._files)
        if clipped := training.clipped + testing.clipped:
            _log.info("%d numbers lie beyond their public range and were clipped", clipped)
        if self._terms.privacy.unit is Unit.RECORD:
            return one_by_one(training.patients), testing.patients
        return training.patients, testing.patients

    @property
    def _training(self) -> Patients:
        return self._tables[0]

    @property
    def _testing(self) -> Patients:
        return self._tables[1]

    def initial(self) -> Vector:
        """See :class:`Training`."""
        from client.training.local_steps import first_model

        return first_model(self._terms, self._weights)

    def tensors(self, vector: Vector) -> Tensors:
        """See :class:`Training`."""
        from models.parameters.lora import plain_tensors

        self._set(vector, None)
        return plain_tensors(self._module)

    def own_tensors(self, personal: Vector | None) -> Tensors:
        """See :class:`Training`."""
        from models.parameters.flatten import from_personal, personal_tensors

        from_personal(self._module, self._first_personal if personal is None else personal)
        return personal_tensors(self._module)

    def train(
        self,
        start: Vector,
        round_number: int,
        noise_multiplier: float | None,
        key: bytes,
        correction: Vector | None = None,
        personal: Vector | None = None,
    ) -> tuple[Vector, Vector]:
        """See :class:`Training`."""
        from client.training.local_steps import train
        from privacy.randomness import Stream

        trained = train(
            start,
            self._terms,
            self._training,
            self._public_patients,
            noise_multiplier,
            self._hardware,
            Stream(key),
            round_number,
            correction,
            self._module,
            self._first_personal if personal is None else personal,
        )
        figures = ", ".join(f"{name} {value:.4g}" for name, value in trained.log.items())
        _log.info("round %d: %s", round_number, figures)
        return trained.update, trained.personal

    def share(
        self,
        start: Vector,
        round_number: int,
        noise: SharedNoise,
        variance: int,
        key: bytes,
        personal: Vector | None = None,
    ) -> tuple[Integers, Vector]:
        """See :class:`Training`."""
        from client.training.global_step import global_step
        from client.training.site_update import site_update
        from privacy.randomness import Stream

        stream = Stream(key)
        own = (start, self._terms, self._training, self._public_patients, self._hardware, stream)
        after = self._first_personal if personal is None else personal
        if self._terms.privacy.unit is Unit.SITE:
            total, after = site_update(*own, round_number, noise.clipping_norm, self._module, after)
        else:
            total = global_step(*own, self._module)
        _log.info("round %d: a share with noise of %d squared grid units", round_number, variance)
        return share(total, noise, variance, stream), after

    def score(
        self,
        vector: Vector,
        noise_multiplier: float | None,
        personal: Vector | None = None,
        key: bytes | None = None,
    ) -> tuple[int, ...]:
        """See :class:`Training`."""
        from client.training.scoring import noised, score_histogram
        from privacy.randomness import Stream, from_os

        self._set(vector, personal)
        counts = score_histogram(self._module, self._testing, self._terms.evaluation.bins)
        if noise_multiplier is not None:
            counts = noised(counts, noise_multiplier, from_os() if key is None else Stream(key))
        return tuple(counts.tolist())

    def _set(self, vector: Vector, personal: Vector | None) -> None:
        from models.parameters.flatten import from_personal, from_vector

        from_vector(self._module, vector)
        from_personal(self._module, self._first_personal if personal is None else personal)

    def close(self) -> None:
        """See :class:`Training`."""


class Trainer:
    """Training in a child process; the same calls as :class:`InProcessTrainer`.

    The child starts at the first call, and again after it died. Use as a context manager.

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
        self._setup = (terms, files, device, precision)
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
        """The child's process id, None while there is no child."""
        return self._child.process.pid if self._child else None

    def initial(self) -> Vector:
        """See :class:`Training`; no record is read for it."""
        answer: Vector = self._ask("initial")
        return answer

    def tensors(self, vector: Vector) -> Tensors:
        """See :class:`Training`."""
        answer: Tensors = self._ask("tensors", vector)
        return answer

    def own_tensors(self, personal: Vector | None) -> Tensors:
        """See :class:`Training`."""
        answer: Tensors = self._ask("own_tensors", personal)
        return answer

    def train(
        self,
        start: Vector,
        round_number: int,
        noise_multiplier: float | None,
        key: bytes,
        correction: Vector | None = None,
        personal: Vector | None = None,
    ) -> tuple[Vector, Vector]:
        """See :class:`Training`."""
        answer: tuple[Vector, Vector] = self._ask(
            "train", start, round_number, noise_multiplier, key, correction, personal
        )
        return answer

    def share(
        self,
        start: Vector,
        round_number: int,
        noise: SharedNoise,
        variance: int,
        key: bytes,
        personal: Vector | None = None,
    ) -> tuple[Integers, Vector]:
        """See :class:`Training`."""
        answer: tuple[Integers, Vector] = self._ask("share", start, round_number, noise, variance, key, personal)
        return answer

    def score(
        self,
        vector: Vector,
        noise_multiplier: float | None,
        personal: Vector | None = None,
        key: bytes | None = None,
    ) -> tuple[int, ...]:
        """See :class:`Training`."""
        answer: tuple[int, ...] = self._ask("score", vector, noise_multiplier, personal, key)
        return answer

    def close(self) -> None:
        """End the child. A later call would start another."""
        child, self._child = self._child, None
        if child is None:
            return
        child.pipe.close()  # the child reads the end of the pipe and leaves
        child.process.join(_STOP_S)
        if child.process.is_alive():
            child.process.kill()
            child.process.join()
        child.process.close()

    def _ask(self, method: str, *arguments: Any) -> Any:
        if self._child is None:
            self._child = self._start()
        try:
            self._child.pipe.send((method, arguments))
            succeeded, answer = self._child.pipe.recv()
        except (EOFError, OSError):
            sentence = _obituary(self._child.process, self._log_file)
            self.close()
            raise TrainingError(sentence) from None
        if not succeeded:
            raise _rebuilt(*answer)
        return answer

    def _start(self) -> _Child:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(
            target=_serve, args=(theirs, self._setup, self._log_file), name="consilium-trainer", daemon=True
        )
        process.start()
        theirs.close()
        return _Child(process, ours)


class _Child(NamedTuple):
    process: SpawnProcess
    pipe: Connection


def _obituary(process: SpawnProcess, log_file: Path) -> str:
    """One sentence about a child that died."""
    process.join(_STOP_S)
    code = process.exitcode
    if code is not None and code < 0:
        cause = f"was ended by {signal.Signals(-code).name}"
        hint = " (often the sign of too little memory)" if -code == signal.SIGKILL else ""
    else:
        cause, hint = f"ended with exit code {code}", ""
    return f"the training process {cause}{hint}; {log_file} has its last words; the next call starts a new one"


def _rebuilt(kind: type[Error], parts: tuple[Any, ...], attributes: dict[str, Any]) -> Error:
    """An error of the child, whatever its constructor asks for."""
    error = kind.__new__(kind)
    error.args = parts
    error.__dict__.update(attributes)
    return error


def _serve(pipe: Connection, setup: tuple[Terms, StudyFiles, str], log_file: Path) -> None:
    """The child's life: answer until the pipe ends."""
    leave_terminal_to_parent()
    _write_everything_to(log_file)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    trainer: InProcessTrainer | None = None
    while True:
        try:
            method, arguments = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)  # all is written; taking torch apart in good order would take seconds
        try:
            trainer = trainer or InProcessTrainer(*setup)
            call: Callable[..., Any] = getattr(trainer, method)
            answer = (True, call(*arguments))
        except Error as error:
            answer = (False, (type(error), error.args, error.__dict__))
        except Exception as error:
            _log.exception("%s failed", method)
            sentence = f"local training failed with {type(error).__name__}; see {log_file}"
            answer = (False, (TrainingError, (sentence,), {}))
        with contextlib.suppress(OSError):  # the parent has gone; recv will say so
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


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
