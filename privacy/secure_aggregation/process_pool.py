"""Seal and open blocks in parallel, on all cores.

* SEAL's binding holds Python's lock, so several cores need several processes.
* Worker processes start with the first large vector, stay for later ones, and get one block at a time.
* A small vector is not worth a process; its blocks are handled in this one.
* Keys and blocks go to the workers in memory (:mod:`privacy.secure_aggregation.mailbox`). A worker ends when the
  process that started it ends, for whatever reason, and its keys with it.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from privacy.errors import TrainingError
from privacy.process_lifetime import leave_terminal_to_parent
from privacy.process_memory import keep_freed_memory
from privacy.secure_aggregation.mailbox import Mailbox

T = TypeVar("T")
R = TypeVar("R")

WORTH_IT: Final = 16
"""Blocks from which on processes are started: about two million values."""

_UNDER_WAY: Final = 2
"""Tasks of a worker at a time: the next one waits there while it works on one."""

_KEPT_BYTES: Final = 1 << 25


def count_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0))


def map_blocks(
    function: Callable[[T], R], tasks: Iterable[T], count: int, processes: int | None = None
) -> Iterator[R]:
    """Yield the result of ``function`` for each of ``count`` tasks, in their order.

    Arrays of a result may lie in memory that the next result takes: use or copy them before going on.

    Args:
        function: defined at the top of a module; with several processes, tasks and results are pickled.
        tasks: made one by one when they are needed: at most two for each process are under way.
        count: how many tasks there are.
        processes: the most processes to use; all cores, if not given.

    Raises:
        TrainingError: a worker process ended unexpectedly; the next call starts new ones.
    """
    several = min(processes or count_cores(), count)
    if several == 1 or count < WORTH_IT:
        yield from map(function, tasks)
        return
    workers = [_take_worker() for _ in range(several)]
    try:
        yield from _take_turns(workers, function, tasks)
    except _WorkerDiedError:
        raise TrainingError(
            "a process that sealed or opened a part of the vector died, perhaps for want of memory; it is tried again "
            "when it is asked for again"
        ) from None
    finally:
        for worker in workers:
            if worker.is_idle and len(_idle) < count_cores():
                _idle.append(worker)
            else:  # it has died, or nobody wants what it is working on
                worker.end()


def _take_turns(workers: list["_Worker"], function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    """Give tasks to the workers in turn, and yield the results in the same turn."""
    under_way: deque[_Worker] = deque()
    for number, task in enumerate(tasks):
        worker = workers[number % len(workers)]
        worker.begin(function, task)
        under_way.append(worker)
        if len(under_way) == _UNDER_WAY * len(workers):
            yield under_way.popleft().finish()
    while under_way:
        yield under_way.popleft().finish()


def end_idle_workers() -> None:
    """End the processes that wait for a task, and with them the keys that they hold; the next task starts others."""
    with contextlib.suppress(IndexError):
        while True:
            _idle.pop().end()


class _WorkerDiedError(Exception):
    """The process of a worker has ended."""


class _Worker:
    """A process that works on the tasks it is given, one after the other."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._letters, theirs = context.Pipe()
        # one for each task under way: none is written while the other side still reads it
        self._tasks = [Mailbox() for _ in range(_UNDER_WAY)]
        self._results = [Mailbox() for _ in range(_UNDER_WAY)]
        self._process = context.Process(target=_work, args=(theirs, self._tasks, self._results), daemon=True)
        self._process.start()
        theirs.close()
        self._begun = self._finished = 0

    @property
    def is_idle(self) -> bool:
        """Whether it lives, and every task that was begun is finished."""
        return self._begun == self._finished and self._process.is_alive()

    def begin(self, function: Callable[[Any], Any], task: object) -> None:
        """Give it a task.

        Raises:
            _WorkerDiedError: it has died.
        """
        try:
            self._letters.send_bytes(self._tasks[self._begun % _UNDER_WAY].put((function, task)))
        except OSError:
            raise _WorkerDiedError from None
        self._begun += 1

    def finish(self) -> Any:
        """Wait for the result of the task that was begun first; raise what its function raised.

        Raises:
            _WorkerDiedError: it has died.
        """
        try:
            letter = self._letters.recv_bytes()
        except (EOFError, OSError):
            raise _WorkerDiedError from None
        result, error = self._results[self._finished % _UNDER_WAY].take(letter)
        self._finished += 1
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        """End the process, whatever it does."""
        self._letters.close()
        self._process.kill()
        self._process.join()


_idle: Final[list[_Worker]] = []
"""Two threads may take from it: an aggregate is opened by one of its own."""


def _take_worker() -> _Worker:
    try:
        return _idle.pop()
    except IndexError:
        return _Worker()


def _work(letters: Connection, tasks: list[Mailbox], results: list[Mailbox]) -> None:
    """Work on tasks until the process that started this one ends. Run by a worker."""
    leave_terminal_to_parent()
    keep_freed_memory(_KEPT_BYTES)  # every block takes the same arrays again
    number = 0
    with contextlib.suppress(EOFError, OSError):  # it has ended
        while True:
            function, task = tasks[number % _UNDER_WAY].take(letters.recv_bytes())
            result, error = None, None
            try:
                result = function(task)
            except Exception as caught:
                error = caught
            letters.send_bytes(results[number % _UNDER_WAY].put((result, error)))
            number += 1
