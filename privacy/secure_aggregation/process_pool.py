"""Blocks are sealed and opened side by side, on as many cores as there are.

SEAL's binding holds Python's lock, so cores are used by processes: started when the first large vector comes, kept
warm, given one block at a time. Small vectors are not worth a process and stay here. Keys travel to the workers over
pipes, in memory; a worker ends with the process that started it, however that ends, and the keys with it.
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
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def map_blocks(
    function: Callable[[T], R], tasks: Iterable[T], count: int, processes: int | None = None
) -> Iterator[R]:
    """``function`` of each of ``count`` tasks, in their order.

    Args:
        function: a module's own function; with several processes its results and tasks are pickled.
        tasks: made one by one, as they are needed: at most two for each process are under way.
        count: how many there are.
        processes: at most so many; all cores, if not given.

    Raises:
        TrainingError: a worker died; the next call has new ones.
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
