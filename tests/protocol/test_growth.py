"""A round has no more to do for the rounds before it: counted, since a time is never asserted.

All parties are real and in one process, so every call of a round is counted, of Python's functions and of built-in
ones, and every instruction of SQLite.
"""

import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.memory_federation import MemoryFederation
from benchmarks.small_study import without_privacy

EARLY, LATE, TRIED = 8, 30, 6
"""The least work of the last TRIED rounds up to EARLY is compared with that up to LATE.

Nearly all rounds had the same 79,000 calls, one of ten had 16 more: that all of six have them has a chance of 1e-6, and
these are still less than one for each round between.
"""


class Work(NamedTuple):
    """What a round did."""

    calls: int
    """Of functions."""
    steps: int
    """Instructions of SQLite."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many instructions SQLite has carried out, in all connections; one number."""
    count, connect = [0], sqlite3.connect

    def step() -> None:
        count[0] += 1

    def connect_and_count(*arguments: Any, **more: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **more)
        connection.set_progress_handler(step, 1)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_and_count)
    return count


def count_calls(work: Callable[[], None]) -> int:
    count = 0

    def see(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_round_does_no_more_after_many_rounds_than_after_few(tmp_path: Path, steps: list[int]) -> None:
    terms = without_privacy(
        training={"rounds": LATE, "local_steps": 1},
        evaluation={"rounds": list(range(1, LATE + 1)), "patience": LATE},
        release={"model": "best"},
        cohort={"minimum": 3, "maximum": 3},
    )
    federation = MemoryFederation(tmp_path, terms, 3)
    found = list[Work]()
    for number in range(1, LATE + 1):
        before = steps[0]
        if number <= EARLY - TRIED or EARLY < number <= LATE - TRIED:
            federation.run_until(number)
            continue
        calls = count_calls(partial(federation.run_until, number))
        found.append(Work(calls, steps[0] - before))
    federation.close()
    early, late = found[:TRIED], found[TRIED:]
    for what in Work._fields:
        first, last = (min(getattr(each, what) for each in some) for some in (early, late))
        assert last - first < LATE - EARLY, f"{what}: {last} after {LATE} rounds, {first} after {EARLY}"
