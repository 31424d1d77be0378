"""Blocks in several processes: in their order, few at a time, and no process outlives the one that started it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from privacy.errors import TrainingError
from privacy.secure_aggregation.process_pool import WORTH_IT, count_cores, end_idle_workers, map_blocks

ROOT = Path(__file__).parent.parent.parent.parent
PARENT = """
import os, signal, sys
from privacy.secure_aggregation.process_pool import WORTH_IT, map_blocks
from tests.privacy.secure_aggregation.test_process_pool import where

if __name__ == "__main__":
    print(*set(map_blocks(where, range(WORTH_IT), WORTH_IT, 2)), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def where(_: int) -> int:
    """The process that was given the task."""
    time.sleep(0.01)  # so that every process gets one
    return os.getpid()


def squared(number: int) -> int:
    return number * number


def died_over(number: int) -> int:
    if number == 7:
        os._exit(1)
    return number


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # ended, and nobody has asked for its exit status


def test_results_come_in_the_order_of_the_tasks() -> None:
    assert list(map_blocks(squared, range(100), 100, 2)) == [number * number for number in range(100)]


@pytest.mark.parametrize(("count", "processes"), [(WORTH_IT - 1, 2), (100, 1)])
def test_few_tasks_or_one_process_stay_here(count: int, processes: int) -> None:
    assert set(map_blocks(where, range(count), count, processes)) == {os.getpid()}


def test_many_tasks_go_elsewhere() -> None:
    found = set(map_blocks(where, range(40), 40, 2))
    assert os.getpid() not in found
    assert 1 <= len(found) <= 2
    assert count_cores() >= 1


def test_tasks_are_made_as_they_are_needed() -> None:
    """At most two for each process are in memory: a vector is never there a second time."""
    made = 0

    def tasks() -> Iterator[int]:
        nonlocal made
        for number in range(50):
            made += 1
            yield number

    results = map_blocks(squared, tasks(), 50, 2)
    assert next(results) == 0
    assert made == 4
    assert list(results)[-1] == 49 * 49


def test_worker_that_dies_is_a_failure_that_can_be_tried_again() -> None:
    """Not a refusal of the vector: a refused aggregate would end the key epoch."""
    with pytest.raises(TrainingError, match="died, perhaps for want of memory"):
        list(map_blocks(died_over, range(40), 40, 2))
    assert list(map_blocks(squared, range(40), 40, 2)) == [number * number for number in range(40)]


def test_workers_end_when_their_keys_are_to_be_forgotten() -> None:
    before = set(map_blocks(where, range(40), 40, 2))
    end_idle_workers()
    assert not any(alive(worker) for worker in before)
    assert before.isdisjoint(map_blocks(where, range(40), 40, 2))


def test_workers_of_a_killed_process_end_with_it() -> None:
    """They hold keys."""
    program = subprocess.run(
        [sys.executable, "-B", "-c", PARENT], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert program.returncode == -signal.SIGKILL, program.stderr
    workers = [int(word) for word in program.stdout.split()]
    assert workers
    deadline = time.monotonic() + 10
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)
