"""Sites that vanish before they have sealed: the others continue, never below the minimum."""

from itertools import chain, combinations

import pytest

from benchmarks.small_study import small_terms
from privacy.protocol.messages import Sealed
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, in_phase, trained_once
from tests.simulator import FOUR

SUBSETS = list(chain.from_iterable(combinations(FOUR, size) for size in (1, 2, 3, 4)))


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("gone", SUBSETS, ids="-".join)
def test_sites_lost_before_sealing_leave_the_cohort_or_the_study_waits(
    found: Found, gone: tuple[str, ...], number: int
) -> None:
    simulator = found(small_terms())
    in_phase(simulator, Phase.SEALING, number)
    simulator.transport.cut_off |= set(gone)
    simulator.step(1000)
    if len(gone) == 1:
        simulator.run(lambda: number in committed(simulator))
        assert gone[0] not in committed(simulator)[number].committed.cohort
        assert committed(simulator)[number].committed.attempt == 2
    else:
        simulator.run(lambda: simulator.now > 5000, seconds=100)
        assert number not in committed(simulator), "a round ran below the minimum"
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)


@pytest.mark.parametrize("gone", SUBSETS, ids="-".join)
def test_sites_lost_before_joining_join_later(found: Found, gone: tuple[str, ...]) -> None:
    simulator = found(small_terms())
    simulator.transport.cut_off |= set(gone)
    simulator.run(lambda: simulator.now > 300, seconds=10)
    assert bool(committed(simulator)) == (len(gone) == 1)
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator, *(FOUR if len(gone) > 1 else set(FOUR) - set(gone)))
    require_safe(simulator)


def test_survivors_seal_the_same_integers_again(found: Found) -> None:
    simulator = found(small_terms())
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.add("elm")
    simulator.step()
    before = {name: simulator.store(name).read_integers(1) for name in THREE}
    simulator.step(1000)
    simulator.step()
    again = {name: simulator.store(name).read_integers(1) for name in THREE}
    for name in THREE:
        first, second = before[name], again[name]
        assert first is not None
        assert second is not None
        assert first.tobytes() == second.tobytes()
    attempts = [
        reply.header.statement.view.attempt for _, reply in simulator.transport.said if isinstance(reply, Sealed)
    ]
    assert attempts == [1, 1, 1, 2, 2, 2]
    assert trained_once(simulator)


def test_site_that_stays_offline_is_not_waited_for_as_long_as_one_that_trains(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 5}))
    in_phase(simulator, Phase.SEALING)
    simulator.transport.offline.add("elm")
    simulator.run(lambda: 1 in committed(simulator), seconds=5)
    assert committed(simulator)[1].committed.cohort == THREE
    assert simulator.now < 100
    simulator.transport.offline.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert "elm" in committed(simulator)[5].committed.cohort


def test_site_offline_for_a_moment_is_not_lost(found: Found) -> None:
    simulator = found(small_terms())
    in_phase(simulator, Phase.SEALING)
    simulator.transport.offline.add("elm")
    simulator.run(lambda: simulator.now > 40, seconds=5)
    simulator.transport.offline.clear()
    simulator.run(seconds=5)
    assert committed(simulator)[1].committed.cohort == FOUR
    assert committed(simulator)[1].committed.attempt == 1


def test_attempt_numbers_of_the_journal_only_rise(found: Found) -> None:
    simulator = found(small_terms())
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.add("elm")
    simulator.step(1000)
    simulator.restart_coordinator()
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    numbers = [(each.round, each.attempt) for each in simulator.attempts()]
    assert numbers == sorted(set(numbers))


def test_new_attempt_begins_without_what_came_for_the_one_before(found: Found) -> None:
    """Uploads whose headers never came are removed, and none is taken before a site is asked for one."""
    simulator, forgotten = found(small_terms()), list[int]()
    simulator.transport.forget_updates = lambda: forgotten.append(  # type: ignore[method-assign]
        len(simulator.attempts())
    )
    in_phase(simulator, Phase.SEALING)
    simulator.transport.offline.add("elm")
    simulator.run()
    assert forgotten == list(range(1, len(simulator.attempts()) + 1))
    assert len(forgotten) > simulator.terms.training.rounds
