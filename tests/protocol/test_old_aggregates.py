"""Aggregates have no room any more: who comes back in time catches up, who comes too late is out, the others go on."""

import pytest

from benchmarks.small_study import small_terms
from server.study.aggregates import LEAST
from server.study.events import Event
from server.study.journal import Journal
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, in_phase
from tests.simulator import PowerCut, Simulator

ROUNDS = 7


@pytest.fixture
def simulator(found: Found) -> Simulator:
    """A coordinator with room for the last rounds alone; elm is gone in the first round."""
    simulator = found(small_terms(training={"rounds": ROUNDS}, evaluation={"rounds": []}), launch=False)
    simulator.aggregate_bytes = 1
    simulator.launch()
    in_phase(simulator, Phase.SEALING, 1)
    simulator.transport.cut_off.add("elm")
    simulator.step(1000)
    return simulator


def kept(simulator: Simulator) -> list[int]:
    return sorted(int(path.stem) for path in (simulator.journal.folder / "aggregates").iterdir())


def come_back_after(simulator: Simulator, number: int) -> None:
    simulator.run(lambda: number in committed(simulator), seconds=5)
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)


def test_site_that_comes_back_while_its_rounds_are_kept_catches_up(simulator: Simulator) -> None:
    """It comes back after two rounds, is given the keys before the third or fourth, and has both to open."""
    simulator.run(lambda: 1 in committed(simulator), seconds=5)
    (one,) = (simulator.journal.folder / "aggregates").iterdir()
    simulator.aggregate_bytes = (LEAST + 2) * (one.stat().st_size + 100)  # a sum of more sites has more seeds
    simulator.restart_coordinator()
    come_back_after(simulator, 2)
    require_finished(simulator)
    require_safe(simulator)
    assert simulator.journal.read_history().out == {}
    assert kept(simulator) == [3, 4, 5, 6, 7]


def test_site_that_comes_back_too_late_is_out_and_says_why_and_the_others_finish(simulator: Simulator) -> None:
    come_back_after(simulator, LEAST + 2)
    require_finished(simulator, *THREE)
    require_safe(simulator)
    history = simulator.journal.read_history()
    assert set(history.out) == {"elm"}
    assert "has opened the rounds up to 0" in history.out["elm"]
    assert "aggregates_gb in coordinator.yaml" in history.out["elm"]
    assert history.removed == ROUNDS - LEAST
    assert kept(simulator) == [5, 6, 7]


def test_site_that_is_opening_a_round_when_it_is_removed_is_out(simulator: Simulator) -> None:
    """It has joined again and is slow: what it was asked to open, and is asked again, is not there any more."""
    simulator.run(lambda: LEAST in committed(simulator), seconds=5)
    simulator.transport.cut_off.clear()
    simulator.run(lambda: simulator.conductor.machine.sites["elm"].question is not None, seconds=5)
    asked = simulator.conductor.machine.sites["elm"].question
    assert asked is not None
    simulator.transport.cut_off.add("elm")
    simulator.run(lambda: LEAST + 2 in committed(simulator), seconds=1000)
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator, *THREE)
    assert set(simulator.journal.read_history().out) == {"elm"}


@pytest.mark.parametrize("where", ["before it is recorded", "after it is recorded"])
def test_coordinator_killed_while_it_removes_goes_on_and_removes_the_rest(simulator: Simulator, where: str) -> None:
    class MortalJournal(Journal):
        def record(self, event: Event) -> None:
            if event.kind == "aggregates-removed" and where.startswith("before"):
                raise PowerCut
            super().record(event)
            if event.kind == "aggregates-removed":
                raise PowerCut

    simulator.open_journal = MortalJournal
    simulator.restart_coordinator()
    with pytest.raises(PowerCut):
        simulator.run(seconds=5)
    assert 1 in kept(simulator)
    simulator.open_journal = Journal
    simulator.restart_coordinator()
    simulator.run(seconds=5)
    require_finished(simulator, *THREE)
    assert kept(simulator) == [5, 6, 7]
