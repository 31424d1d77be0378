"""A site lost between sealing and release: the round is void, the site out until it is re-admitted."""

import pytest

from server.desk import Phase
from tests.client.small_study import small_terms, without_privacy
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, in_phase
from tests.simulator import FOUR


@pytest.mark.parametrize("lost_by", ["restart", "silence"])
def test_site_lost_before_it_released_makes_the_round_void_and_is_out(found: Found, lost_by: str) -> None:
    simulator = found(small_terms(training={"rounds": 3}))
    in_phase(simulator, Phase.RELEASING, 2)
    if lost_by == "restart":
        simulator.restart_site("birch")
    else:
        simulator.transport.cut_off.add("birch")
        simulator.step(100)
    simulator.run()
    history = simulator.journal.history()
    assert history.void == {2}
    assert list(history.out) == ["birch"]
    assert committed(simulator)[3].committed.cohort == ("ash", "cedar", "elm")
    require_finished(simulator, "ash", "cedar", "elm")
    require_safe(simulator)
    paid = [entry.body.round for entry in simulator.entries("ash", "settle")]  # type: ignore[attr-defined]
    assert paid == [1, 2, 3], "a void round is paid"
    assert [applied.round for applied in simulator.state("ash").applied] == [1, 3]


def test_too_few_after_a_void_round_stops_and_a_readmitted_site_takes_part_again(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 3}), names=THREE)
    in_phase(simulator, Phase.RELEASING)
    simulator.restart_site("birch")
    simulator.run()
    assert "2 sites can take part, the terms need 3" in (simulator.journal.history().stopped or "")
    simulator.resume("birch")
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert committed(simulator)[2].committed.cohort == THREE


def test_site_out_of_a_running_study_is_readmitted_and_catches_up(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 7}))
    in_phase(simulator, Phase.RELEASING)
    simulator.restart_site("birch")
    in_phase(simulator, Phase.SEALING, 3)
    (simulator.journal.folder / "stop").touch()
    simulator.run()
    simulator.resume("birch")
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert "birch" in committed(simulator)[7].committed.cohort


def test_without_privacy_a_void_round_stops_the_study_until_its_cohort_is_whole_again(found: Found) -> None:
    """Three are enough for a round, but with the void one's sum theirs would give the fourth one's update."""
    simulator = found(without_privacy(training={"rounds": 3}))
    in_phase(simulator, Phase.RELEASING)
    simulator.restart_site("birch")
    simulator.run()
    assert "needs the same sites; re-admit birch to go on" in (simulator.journal.history().stopped or "")
    assert all(number == 1 for _, number in simulator.trained)
    simulator.resume("birch")
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert committed(simulator)[2].committed.cohort == FOUR


def test_last_round_void_closes_with_the_model_before_it(found: Found) -> None:
    simulator = found(small_terms(evaluation={"rounds": []}))
    in_phase(simulator, Phase.RELEASING, 2)
    simulator.restart_site("birch")
    simulator.run(seconds=5)
    require_finished(simulator, "ash", "cedar", "elm")
    assert {simulator.state(name).base for name in ("ash", "cedar", "elm")} == {1}


def test_two_sites_out_in_the_last_round_do_not_keep_the_rest_from_closing(found: Found) -> None:
    simulator = found(small_terms(evaluation={"rounds": []}))
    in_phase(simulator, Phase.RELEASING, 2)
    for name in ("birch", "cedar"):
        simulator.restart_site(name)
    simulator.transport.cut_off.add("elm")
    simulator.step()
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.CLOSING, seconds=5)
    simulator.restart_site("elm")
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator, "ash")
