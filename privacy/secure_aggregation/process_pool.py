"""Seal and open blocks in parallel, on all cores.

* SEAL's binding holds Python's lock, so several cores need several processes.
* Worker processes start with the first large vector, stay for later ones, and get one block at a time.
* A small vector is not worth a process; its blocks are handled in this one.
* Keys go to the workers over pipes, in memory. A worker ends when the process that started it ends, for whatever
  reason, and its keys with it.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Final, TypeVar

from privacy.errors import TrainingError
from privacy.process_lifetime import leave_terminal_to_parent

T = TypeVar("T")
R = TypeVar("R")

WORTH_IT: Final = 16
"""Blocks from which on processes are started: about two million values."""


def count_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0))


def map_blocks(
    function: Callable[[T], R], tasks: Iterable[T], count: int, processes: int | None = None
) -> Iterator[R]:
    """Yield the result of ``function`` for each of ``count`` tasks, in their order.

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
    try:
        yield from _run_in_pool(_make_pool(several), function, tasks, 2 * several)
    except BrokenProcessPool:
        _make_pool.cache_clear()
        raise TrainingError(
            "a process that sealed or opened a part of the vector died, perhaps for want of memory; it is tried again "
            "when it is asked for again"
        ) from None


def _run_in_pool(
    pool: ProcessPoolExecutor, function: Callable[[T], R], tasks: Iterable[T], most: int
) -> Iterator[R]:
    under_way: deque[Future[R]] = deque()
    for task in tasks:
        under_way.append(pool.submit(function, task))
        if len(under_way) == most:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


@cache
def _make_pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processes, get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    leave_terminal_to_parent()
    Thread(target=_await_parent, daemon=True).start()


def _await_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)  # the main thread waits for a task that will never come
