"""What the operator is told of a study that waits or is stopped, and what resuming it takes."""

from dataclasses import replace

import pytest

from benchmarks.small_study import small_terms
from privacy.client_certificate import Role
from privacy.errors import FederationError
from server.control.caller import Caller
from server.control.runs import Runs
from server.control.study_calls import StudyCalls
from server.results.read import read_summary
from server.study.events import StudyStatus
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished
from tests.protocol.moments import THREE, in_phase, make_void
from tests.simulator import PATIENCE, Simulator

OPERATOR = Caller(Role.OPERATOR, "local")


@pytest.fixture
def stopped(found: Found) -> Simulator:
    """Three sites, all of them needed; birch is out."""
    simulator = found(small_terms(training={"rounds": 3}), names=THREE, launch=False)
    simulator.patience = replace(PATIENCE, forgiven_voids=0)
    simulator.launch()
    make_void(simulator, 1)
    simulator.run()
    assert list(simulator.journal.read_history().out) == ["birch"]
    return simulator


def test_resume_that_would_stand_still_again_names_whom_to_readmit_and_changes_nothing(stopped: Simulator) -> None:
    calls = StudyCalls(stopped.federation, Runs())
    with pytest.raises(FederationError, match=f"with: consilium study resume {stopped.study} --readmit birch$"):
        calls._resume({"study": stopped.study, "readmit": []}, OPERATOR)
    assert stopped.journal.read_status() is StudyStatus.STOPPED
    assert list(stopped.journal.read_history().out) == ["birch"]


def test_resume_with_the_site_that_is_needed_goes_on(stopped: Simulator) -> None:
    StudyCalls(stopped.federation, Runs())._resume({"study": stopped.study, "readmit": ["birch"]}, OPERATOR)
    assert stopped.journal.read_status() is StudyStatus.OPEN
    stopped.restart_coordinator()
    stopped.run(seconds=5)
    require_finished(stopped)


def test_readmission_to_a_running_study_says_to_stop_it_first(stopped: Simulator) -> None:
    calls = StudyCalls(stopped.federation, Runs())
    calls._resume({"study": stopped.study, "readmit": ["birch"]}, OPERATOR)
    with pytest.raises(FederationError, match=f"stop it: consilium study stop {stopped.study}$"):
        calls._resume({"study": stopped.study, "readmit": []}, OPERATOR)


def test_study_that_waits_is_listed_as_waiting_with_who_is_away(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 3}), names=THREE)
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off |= {"ash", "birch"}
    simulator.step(1000)
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.WAITING, seconds=100)
    summary = read_summary(simulator.journal.folder)
    assert summary.standing is StudyStatus.WAITING
    assert summary.why == "1 site is here, a round needs 3; away: ash, birch"
    simulator.transport.cut_off.clear()
    in_phase(simulator, Phase.RELEASING)
    summary = read_summary(simulator.journal.folder)
    assert (summary.standing, summary.why) == (StudyStatus.OPEN, "")
    simulator.run(seconds=5)
    require_finished(simulator)


def test_study_that_ends_waits_for_a_site_whose_word_on_the_model_is_needed(found: Found) -> None:
    """Of three sites that may have a colluder among them all three must hold the same model."""
    simulator = found(small_terms(training={"rounds": 2}, evaluation={"rounds": []}), names=THREE)
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.CLOSING)
    simulator.transport.cut_off.add("birch")
    simulator.run(lambda: simulator.now > 2000, seconds=50)
    assert simulator.journal.read_history().stopped is None
    assert "hold the same model at the end, expected 3; away: birch" in (
        simulator.journal.read_history().waiting or ""
    )
    simulator.restart_site("birch")
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
