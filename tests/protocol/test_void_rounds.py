"""A site away between sealing and release for too long: the round is void, which is forgiven a few times."""

from dataclasses import replace

from benchmarks.small_study import small_terms, without_privacy
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, in_phase, make_void
from tests.simulator import FOUR, PATIENCE


def test_site_away_until_the_release_is_over_makes_the_round_void_and_is_forgiven(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 6}, evaluation={"rounds": []}))
    make_void(simulator, 2)
    simulator.run(seconds=5)
    history = simulator.journal.read_history()
    assert (history.void, dict(history.voids_by), history.out) == ({2}, {"birch": 1}, {})
    assert committed(simulator)[3].committed.cohort == ("ash", "cedar", "elm")
    assert committed(simulator)[6].committed.cohort == FOUR
    require_finished(simulator)
    require_safe(simulator)
    paid = [entry.body.round for entry in simulator.entries("ash", "settle")]  # type: ignore[attr-defined]
    assert paid == [1, 2, 3, 4, 5, 6], "a void round is paid"
    assert [applied.round for applied in simulator.history("ash").applied] == [1, 3, 4, 5, 6]


def test_three_sites_wait_for_the_one_that_made_a_round_void_and_go_on_by_themselves(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 3}), names=THREE)
    in_phase(simulator, Phase.RELEASING)
    simulator.transport.cut_off.add("birch")
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.WAITING, seconds=20)
    history = simulator.journal.read_history()
    assert history.void == {1}
    assert history.waiting == "2 sites are here, a round needs 3; away: birch"
    assert history.stopped is None
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    assert simulator.journal.read_history().waiting is None
    require_finished(simulator)
    require_safe(simulator)
    assert committed(simulator)[2].committed.cohort == THREE


def test_site_is_out_once_it_has_made_more_rounds_void_than_are_forgiven(found: Found) -> None:
    """Each costs everybody a round, so that is bounded; the stop names the command that lets it in again."""
    simulator = found(small_terms(training={"rounds": 6}), names=THREE)
    for number in (1, 2):
        make_void(simulator, number)
        assert simulator.journal.read_history().out == {}
    make_void(simulator, 3)
    simulator.run(seconds=5)
    why = simulator.journal.read_history().stopped or ""
    assert "2 sites can take part, the terms need 3" in why
    assert "birch: vanished between sealing and release of round 3, as in 2 rounds before" in why
    assert f"let them in again with: consilium study resume {simulator.study} --readmit birch" in why
    simulator.resume("birch")
    make_void(simulator, 4)
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert dict(simulator.journal.read_history().voids_by) == {"birch": 1}, "the operator has forgiven the others"


def test_site_out_of_a_running_study_is_readmitted_and_catches_up(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 7}), launch=False)
    simulator.patience = replace(PATIENCE, forgiven_voids=0)
    simulator.launch()
    make_void(simulator, 1)
    assert list(simulator.journal.read_history().out) == ["birch"]
    in_phase(simulator, Phase.SEALING, 3)
    (simulator.journal.folder / "stop").touch()
    simulator.run()
    assert f"continue with: consilium study resume {simulator.study}" in (
        simulator.journal.read_history().stopped or ""
    )
    simulator.resume("birch")
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert "birch" in committed(simulator)[7].committed.cohort


def test_without_privacy_the_study_waits_after_a_void_round_until_its_cohort_is_whole_again(found: Found) -> None:
    """Three are enough for a round, but with the void one's sum theirs would give the fourth one's update."""
    simulator = found(without_privacy(training={"rounds": 3}))
    in_phase(simulator, Phase.RELEASING)
    simulator.transport.cut_off.add("birch")
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.WAITING, seconds=20)
    assert simulator.journal.read_history().waiting == (
        "3 sites are here, the next round needs the same sites; away: birch"
    )
    assert all(number == 1 for _, number in simulator.trained)
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert committed(simulator)[2].committed.cohort == FOUR


def test_without_privacy_a_study_whose_cohort_is_out_stops_and_names_who_is_needed(found: Found) -> None:
    simulator = found(without_privacy(training={"rounds": 3}), launch=False)
    simulator.patience = replace(PATIENCE, forgiven_voids=0)
    simulator.launch()
    make_void(simulator, 1)
    simulator.run(seconds=5)
    why = simulator.journal.read_history().stopped or ""
    assert "the round after a void one needs the same sites, birch too" in why
    assert f"consilium study resume {simulator.study} --readmit birch" in why
    simulator.resume("birch")
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert committed(simulator)[2].committed.cohort == FOUR


def test_last_round_void_closes_with_the_model_before_it(found: Found) -> None:
    simulator = found(small_terms(evaluation={"rounds": []}))
    make_void(simulator, 2)
    simulator.run(seconds=5)
    require_finished(simulator)
    assert {simulator.state(name).base for name in FOUR} == {1}


def test_two_sites_gone_in_the_last_round_do_not_keep_the_rest_from_closing(found: Found) -> None:
    simulator = found(small_terms(evaluation={"rounds": []}))
    in_phase(simulator, Phase.RELEASING, 2)
    simulator.transport.cut_off |= {"birch", "cedar"}
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.CLOSING, seconds=20)
    simulator.restart_site("elm")
    simulator.run(seconds=5)
    require_finished(simulator, "ash", "elm")
    assert simulator.journal.read_history().void == {2}
