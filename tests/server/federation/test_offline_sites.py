"""What the coordinator makes of a site that the network says is offline, long before its time to seal is over."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.small_study import small_terms
from server.study.runner import Arrival
from server.study.state import Phase
from tests.simulator import PATIENCE, MemoryTransport, Simulator

SEAL_S = PATIENCE.seal_s
OFFLINE_S = PATIENCE.offline_s


class ReportingTransport(MemoryTransport):
    """As Flower does: what is sent to a site that is offline comes back as lost."""

    def receive_arrivals(self, coming: Callable[[str], None]) -> Iterator[Arrival]:
        kept = [message for message in self._waiting if message[1] not in self.cut_off]
        lost = [message for message in self._waiting if message[1] in self.cut_off]
        self._waiting = kept
        yield from super().receive_arrivals(coming)
        for message, site, _ in lost:
            yield Arrival(message, site, None, "no heartbeat", lost=True)


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path / "wood", small_terms())
    simulator.transport = ReportingTransport(simulator.sites)
    simulator.launch()
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.SEALING)
    simulator.transport.cut_off.add("ash")
    yield simulator
    simulator.close()


def let_pass(simulator: Simulator, seconds: float) -> None:
    end = simulator.now + seconds
    simulator.run(lambda: simulator.now >= end, seconds=2)


def cohorts(simulator: Simulator) -> dict[int, tuple[str, ...]]:
    return {number: event.committed.cohort for number, event in simulator.journal.read_history().committed.items()}


def test_site_offline_while_others_seal_is_left_out_soon(simulator: Simulator) -> None:
    began = simulator.now
    simulator.run(lambda: 1 in cohorts(simulator), seconds=2)
    assert OFFLINE_S <= simulator.now - began < OFFLINE_S + 30 < SEAL_S
    assert cohorts(simulator)[1] == ("birch", "cedar", "elm")


def test_site_offline_for_a_moment_stays_in_the_round(simulator: Simulator) -> None:
    for _ in range(3):  # each blip shorter than the patience, all together longer
        let_pass(simulator, 0.6 * OFFLINE_S)
        simulator.transport.cut_off.clear()
        simulator.transport.requests = lambda _, envelope: None  # it is reached, and takes its time
        let_pass(simulator, 4 * PATIENCE.ask_again_s)
        simulator.transport.requests = lambda _, envelope: envelope
        simulator.transport.cut_off.add("ash")
    simulator.transport.cut_off.clear()
    simulator.run(lambda: 1 in cohorts(simulator), seconds=2)
    assert cohorts(simulator)[1] == simulator.names


def test_site_back_from_a_long_absence_is_asked_soon(simulator: Simulator) -> None:
    simulator.run(lambda: 1 in cohorts(simulator), seconds=2)
    simulator.transport.cut_off |= {"birch"}
    let_pass(simulator, 40 * PATIENCE.ask_again_s)
    simulator.transport.cut_off.clear()
    back = simulator.now
    simulator.run(lambda: 2 in cohorts(simulator), seconds=2)
    assert simulator.now - back < 4 * PATIENCE.ask_again_s
    assert len(cohorts(simulator)[2]) >= 3
