"""A ledger that another process holds, a disk that is full: the site says so, stays, and takes part again."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from benchmarks.small_study import small_terms
from privacy.protocol.messages import Problem
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.simulator import FOUR, Simulator


@contextmanager
def held_ledger(simulator: Simulator, name: str) -> Iterator[None]:
    """A backup job holds the site's ledger."""
    simulator.sites[name]._ledger._connection.execute("PRAGMA busy_timeout = 10")
    with closing(sqlite3.connect(simulator.homes[name].ledger_path, isolation_level=None)) as backup:
        backup.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """No file below ``folder`` can be replaced."""
    replace = os.replace

    def refuse(source: str, target: Path) -> None:
        if folder in Path(target).parents:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        yield


def problems(simulator: Simulator, name: str) -> list[Problem]:
    return [said for who, said in simulator.transport.said if who == name and isinstance(said, Problem)]


def require_no_folder_named(simulator: Simulator) -> None:
    names = [
        part.encode() for part in simulator.folder.parts if len(part) > 8
    ]  # shorter ones may be in a signature
    assert names
    assert not any(name in envelope.body for name in names for envelope in simulator.transport.wire)


def test_site_whose_ledger_is_held_misses_the_round_and_is_in_the_next(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 4}, evaluation={"rounds": [4]}))
    simulator.run(lambda: simulator.all_have(0) and simulator.conductor.machine.phase is Phase.SEALING)
    with held_ledger(simulator, "elm"):
        simulator.run(lambda: 1 in simulator.journal.read_history().committed)
    assert [(said.code, said.sentence) for said in problems(simulator, "elm")] == [
        ("unavailable", "this site's ledger cannot be written now; nothing was done, and it can be asked again")
    ]
    assert simulator.journal.read_history().committed[1].committed.cohort == ("ash", "birch", "cedar")
    simulator.run(seconds=5)
    assert any(event.committed.cohort == FOUR for event in simulator.journal.read_history().committed.values())
    require_finished(simulator)
    require_safe(simulator)
    require_no_folder_named(simulator)


def test_site_whose_ledger_is_held_when_it_is_asked_to_join_is_asked_again(found: Found) -> None:
    simulator = found(small_terms(), launch=False)
    with held_ledger(simulator, "elm"):
        simulator.launch()
        simulator.run(lambda: len(problems(simulator, "elm")) == 2, seconds=5)
    assert {said.code for said in problems(simulator, "elm")} == {"unavailable"}
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


def test_site_whose_disk_is_full_at_release_releases_once_there_is_room(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.RELEASING)
    with full_disk(simulator.homes["elm"].folder):
        simulator.run(lambda: problems(simulator, "elm"))
        assert simulator.state("elm").released is None
    assert problems(simulator, "elm")[0].sentence.startswith("this site's disk cannot be written now")
    simulator.run(seconds=5)
    assert not simulator.journal.read_history().void
    assert simulator.journal.read_history().committed[1].committed.cohort == FOUR
    require_finished(simulator)
    require_safe(simulator)
    require_no_folder_named(simulator)


def test_site_whose_disk_is_full_for_long_does_not_hold_up_the_others(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.SEALING)
    with full_disk(simulator.homes["elm"].folder):
        simulator.run(lambda: simulator.conductor.machine.phase is Phase.CLOSING, seconds=5)
    assert not simulator.journal.read_history().out
    assert len(problems(simulator, "elm")) <= 6  # looked for ever less often
    simulator.run(seconds=10)
    require_finished(simulator)
    require_safe(simulator)
