"""A site is killed at any step of a round, between sealing and release too: it comes back, and nobody repeats work."""

from collections.abc import Callable

import pytest

from benchmarks.small_study import small_terms, without_privacy
from privacy.protocol.envelope import Envelope, read_body
from privacy.protocol.key_messages import Wrappings
from privacy.protocol.messages import Closed, Joined, Opened, Problem, Released, Reply, Sealed
from privacy.study import Terms
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, in_phase, make_void, trained_once
from tests.protocol.test_distributed_noise import distributed_terms
from tests.protocol.test_site_unit import site_terms
from tests.simulator import FOUR, Simulator

Kind = type[Reply]
REPLIES: tuple[Kind, ...] = (Joined, Wrappings, Sealed, Released, Closed)

STUDIES: dict[str, Callable[[], Terms]] = {
    "distributed": distributed_terms,
    "whole sites": site_terms,
    "without privacy": without_privacy,
    "evaluated": lambda: small_terms(evaluation={"rounds": [1, 2], "epsilon": 3, "patience": 2}),
}


def die(simulator: Simulator, who: str, kind: Kind, *, delivered: bool, times: int = 1) -> None:
    """Kill ``who`` when it has answered with ``kind``: its answer arrives, or dies with it. The first ``times``."""
    left = [times]

    def change(name: str, reply: Envelope) -> Envelope | None:
        if name != who or not isinstance(read_body(reply).content, kind) or not left[0]:
            return reply
        left[0] -= 1
        simulator.restart_site(who)
        return reply if delivered else None

    simulator.transport.replies = change


@pytest.mark.parametrize("delivered", [True, False], ids=["answer arrives", "answer is lost"])
@pytest.mark.parametrize("kind", REPLIES, ids=lambda kind: kind.__name__.lower())
@pytest.mark.parametrize("who", THREE)
def test_site_killed_after_any_answer_comes_back_and_the_three_finish(
    found: Found, who: str, kind: Kind, delivered: bool
) -> None:
    """Ash is the lead. No round is void, nobody trains twice, all three are in every round."""
    simulator = found(small_terms(), names=THREE)
    die(simulator, who, kind, delivered=delivered)
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)
    assert simulator.journal.read_history().void == set()
    assert all(event.committed.cohort == THREE for event in committed(simulator).values())


@pytest.mark.parametrize("delivered", [True, False], ids=["answer arrives", "answer is lost"])
@pytest.mark.parametrize("kind", [Sealed, Released, Opened], ids=lambda kind: kind.__name__.lower())
@pytest.mark.parametrize("study", STUDIES)
def test_site_that_dies_again_and_again_does_not_stop_any_kind_of_study(
    found: Found, study: str, kind: Kind, delivered: bool
) -> None:
    simulator = found(STUDIES[study](), names=THREE)
    die(simulator, "birch", kind, delivered=delivered, times=2)
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)
    assert simulator.journal.read_history().void == set()


@pytest.mark.parametrize("gone", [("ash",), ("birch", "cedar"), FOUR], ids="-".join)
@pytest.mark.parametrize("phase", [Phase.SEALING, Phase.RELEASING])
@pytest.mark.parametrize("number", [1, 2])
def test_sites_restarted_together_in_any_phase_of_a_round_finish_it(
    found: Found, number: int, phase: Phase, gone: tuple[str, ...]
) -> None:
    simulator = found(small_terms())
    in_phase(simulator, phase, number)
    for name in gone:
        simulator.restart_site(name)
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)
    assert simulator.journal.read_history().void == set()


def test_rolling_restart_of_every_site_in_every_phase_finishes(found: Found) -> None:
    """A kernel update at night, one machine after the other, whatever the study is at."""
    simulator = found(small_terms(training={"rounds": 6}))
    for _ in range(4):
        for name in FOUR:
            simulator.restart_site(name)
            simulator.step(3)
            if not simulator.conductor.running:
                break
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert simulator.journal.read_history().void == set()


def test_restart_of_everything_between_sealing_and_release_costs_a_round_at_most(found: Found) -> None:
    """Nobody keeps sealed bytes: if the coordinator dies with the sites, what was sealed is sealed again."""
    simulator = found(small_terms(training={"rounds": 3}))
    in_phase(simulator, Phase.RELEASING, 2)
    for name in FOUR:
        simulator.restart_site(name)
    simulator.restart_coordinator()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert simulator.journal.read_history().void == set(), "nobody had released"


def test_site_restarted_after_it_released_answers_with_the_same_seed(found: Found) -> None:
    """It died between the durable save and the answer: asked again, it has nothing else to say."""
    simulator = found(small_terms(), names=THREE)
    die(simulator, "birch", Released, delivered=False)
    simulator.run(lambda: 1 in committed(simulator), seconds=5)
    seeds = [
        (reply.attempt, reply.seed)
        for name, reply in simulator.transport.said
        if name == "birch" and isinstance(reply, Released)
    ]
    assert len(seeds) > 1
    assert len(set(seeds)) == 1
    assert committed(simulator)[1].committed.attempt == 1


def test_what_is_kept_goes_when_the_round_is_applied_and_when_the_study_is_closed(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 3}))

    def kept(name: str) -> list[str]:
        return sorted(path.name for path in simulator.store(name).folder.glob("*.sealed*"))

    in_phase(simulator, Phase.RELEASING, 2)
    assert all(kept(name) == ["attempt.sealed", "keys.sealed"] for name in FOUR)
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.CLOSING and simulator.all_have(4))
    assert all(kept(name) == [] for name in FOUR)
    simulator.run(seconds=5)
    require_finished(simulator)


def test_key_of_a_round_that_a_site_missed_is_kept_by_the_others_until_it_is_back(found: Found) -> None:
    """Elm misses rounds 2 and 3; all others are restarted, twice, before it is back: it can still catch up."""
    simulator = found(small_terms(training={"rounds": 7}, evaluation={"rounds": []}))
    in_phase(simulator, Phase.SEALING, 2)
    simulator.transport.cut_off.add("elm")
    for number in (2, 3):
        simulator.run(lambda number=number: number in committed(simulator), seconds=20)  # type: ignore[misc]
        simulator.step()
        assert "elm" not in committed(simulator)[number].committed.cohort
        for name in THREE:
            simulator.restart_site(name)
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert "elm" in committed(simulator)[7].committed.cohort
    assert [each.round for each in simulator.history("elm").applied] == sorted(committed(simulator))


@pytest.mark.parametrize("damage", ["cut short", "of another study", "of another purpose"])
def test_kept_attempt_that_does_not_open_is_lost_and_the_round_is_void(found: Found, damage: str) -> None:
    simulator = found(small_terms(training={"rounds": 3}, evaluation={"rounds": []}))
    in_phase(simulator, Phase.RELEASING, 2)
    path = simulator.store("birch").folder / "attempt.sealed"
    match damage:
        case "cut short":
            path.write_bytes(path.read_bytes()[:-1])
        case "of another study":
            path.write_bytes((simulator.store("ash").folder / "attempt.sealed").read_bytes())
        case _:
            path.write_bytes(path.with_name("keys.sealed").read_bytes())
    simulator.restart_site("birch")
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert simulator.journal.read_history().void == {2}
    assert simulator.journal.read_history().out == {}


def test_wait_for_sites_that_are_away_ends_after_its_time_over_restarts_of_the_coordinator(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = found(small_terms(), names=THREE)
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.add("birch")
    simulator.step(1000)
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.WAITING, seconds=100)
    wait_s = simulator.patience.wait_s
    began = simulator.now
    simulator.step(0.6 * wait_s)
    assert simulator.journal.read_history().stopped is None
    clock = [0.6 * wait_s]
    import time

    real = time.time
    monkeypatch.setattr("server.study.journal.time.time", lambda: real() + clock[0])
    simulator.restart_coordinator()
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.WAITING, seconds=500)
    simulator.run(seconds=0.1 * wait_s)
    why = simulator.journal.read_history().stopped or ""
    assert simulator.now - began < 1.2 * wait_s
    assert "after 7 days of waiting: 2 sites are here, a round needs 3; away: birch" in why
    assert f"when they are back, run: consilium study resume {simulator.study}" in why
    simulator.transport.cut_off.clear()
    simulator.resume()
    simulator.run(seconds=5)
    require_finished(simulator)


def test_site_restarted_in_a_round_is_asked_at_once(found: Found) -> None:
    """Not only when it is time to ask again: the network tells when a site's process has come online."""
    simulator = found(small_terms(), names=THREE)
    in_phase(simulator, Phase.SEALING, 2)
    simulator.transport.requests = lambda name, request: None if name == "birch" else request  # taken, then killed
    simulator.step(0.1)
    simulator.transport.requests = lambda _, request: request
    began = simulator.now
    simulator.restart_site("birch")
    simulator.run(lambda: 2 in committed(simulator), seconds=0.1)
    assert simulator.now - began < 2 < simulator.patience.ask_again_s
    require_safe(simulator)


def test_round_after_a_void_one_without_privacy_has_the_same_cohort_though_sites_were_restarted(
    found: Found,
) -> None:
    simulator = found(without_privacy(training={"rounds": 3}))
    make_void(simulator, 1)
    for name in FOUR:
        simulator.restart_site(name)
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert committed(simulator)[2].committed.cohort == FOUR
    assert not [
        reply for _, reply in simulator.transport.said if isinstance(reply, Problem) and reply.code == "released"
    ]
