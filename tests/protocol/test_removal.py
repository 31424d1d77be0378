"""A site that the operator removes from the federation: its studies go on without it, at once."""

import pytest

from benchmarks.small_study import small_terms
from server.study.machine import REMOVED
from server.study.sites import SiteStatus
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, in_phase


@pytest.mark.parametrize("phase", [Phase.JOINING, Phase.WRAPPING, Phase.SEALING, Phase.RELEASING, Phase.CLOSING])
def test_study_goes_on_without_a_removed_site(found: Found, phase: Phase) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: simulator.conductor.machine.phase is phase)
    before = set(committed(simulator))
    simulator.transport.removed = ["elm"]
    simulator.transport.cut_off.add("elm")
    simulator.run()
    require_finished(simulator, *THREE)
    require_safe(simulator)
    assert simulator.conductor.machine.history.out == {"elm": REMOVED}
    later = [event.committed.cohort for number, event in committed(simulator).items() if number not in before]
    assert all("elm" not in cohort for cohort in later)


def test_removed_site_is_not_waited_for(found: Found) -> None:
    """A site that is only away is waited for; one that was removed is out with the next look."""
    simulator = found(small_terms())
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.add("elm")
    simulator.transport.removed = ["elm"]
    simulator.step()
    assert simulator.conductor.machine.sites["elm"].standing is SiteStatus.OUT


def test_site_removed_while_the_coordinator_is_down_is_asked_nothing(found: Found) -> None:
    simulator = found(small_terms())
    in_phase(simulator, Phase.SEALING, 2)
    simulator.transport.removed = ["elm"]
    simulator.transport.asked.clear()
    simulator.restart_coordinator()
    assert simulator.conductor.machine.history.out == {"elm": REMOVED}
    simulator.run()
    assert "elm" not in simulator.transport.asked
    require_finished(simulator, *THREE)


def test_study_that_would_have_too_few_sites_stops_and_says_why(found: Found) -> None:
    simulator = found(small_terms())
    in_phase(simulator, Phase.SEALING)
    simulator.transport.removed = ["elm", "birch"]
    simulator.step()
    assert simulator.conductor.machine.phase is Phase.STOPPED
    stopped = simulator.conductor.machine.history.stopped or ""
    assert f"birch: {REMOVED}; elm: {REMOVED}" in stopped
