"""Sites that vanish, die, come back: at every point, and nobody trains or pays twice."""

from itertools import chain, combinations

import pytest

from privacy.wire import Envelope, Joined, Sealed, read_body
from server.desk import Phase
from server.history import AttemptAsked, RoundCommitted
from tests.client.small_study import small_terms, without_privacy
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.simulator import FOUR, PowerCut, Simulator

THREE = ("ash", "birch", "cedar")
SUBSETS = list(chain.from_iterable(combinations(FOUR, size) for size in (1, 2, 3, 4)))


def in_phase(simulator: Simulator, phase: Phase, number: int = 1) -> None:
    """Go on until the study is in ``phase`` of round ``number``."""

    def there() -> bool:
        attempt = simulator.journal.history().attempt
        return simulator.conductor.machine.phase is phase and attempt is not None and attempt.round == number

    simulator.run(there)
    assert there()


def trained_once(simulator: Simulator) -> bool:
    return set(simulator.trained.values()) == {1}


def committed(simulator: Simulator) -> dict[int, RoundCommitted]:
    return simulator.journal.history().committed


# Before sealing ----------------------------------------------------------------------------------------------


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
    before = {name: simulator.store(name).integers(1) for name in THREE}
    simulator.step(1000)
    simulator.step()
    again = {name: simulator.store(name).integers(1) for name in THREE}
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


# Restarts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.JOINING, Phase.WRAPPING, Phase.SEALING])
@pytest.mark.parametrize("who", FOUR)
def test_site_restarted_before_it_sealed_takes_part_again(found: Found, phase: Phase, who: str) -> None:
    simulator = found(small_terms(training={"rounds": 3}))
    simulator.run(lambda: simulator.conductor.machine.phase is phase)
    simulator.restart_site(who)
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)
    assert who in committed(simulator)[3].committed.cohort


def test_site_restarted_after_it_sealed_seals_the_same_integers_in_a_new_epoch(found: Found) -> None:
    """Its sealed update is lost with it: nobody has it, so nobody waits for its mask."""
    simulator = found(small_terms(), names=THREE)
    in_phase(simulator, Phase.SEALING)
    simulator.transport.replies = lambda name, reply: None if name == "ash" else reply
    simulator.step()
    simulator.transport.replies = lambda _, reply: reply
    integers = simulator.store("ash").integers(1)
    simulator.restart_site("ash")
    in_phase(simulator, Phase.RELEASING)
    again = simulator.store("ash").integers(1)
    assert integers is not None
    assert again is not None
    assert again.tobytes() == integers.tobytes()
    simulator.run(seconds=5)
    assert committed(simulator)[1].committed.epoch == 2
    require_finished(simulator)
    require_safe(simulator)


def test_site_whose_power_fails_in_training_repeats_the_same_draw_and_pays_once(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 3}))
    cuts = iter([True])

    def cut(site: str, number: int) -> None:
        if (site, number) == ("birch", 1) and next(cuts, False):
            raise PowerCut

    simulator.before_training = cut
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.add("elm")  # so that three are left and birch is waited for
    simulator.run(lambda: simulator.trained["birch", 1] == 2, seconds=5)
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    draws = [key for site, number, key in simulator.draws if (site, number) == ("birch", 1)]
    assert len(draws) == 2
    assert draws[0] == draws[1]
    require_finished(simulator)
    require_safe(simulator)


def test_all_sites_restarted_in_mid_round_go_on_without_training_again(found: Found) -> None:
    simulator = found(small_terms())
    in_phase(simulator, Phase.SEALING)
    simulator.transport.replies = lambda _, reply: None
    simulator.step()
    simulator.transport.replies = lambda _, reply: reply
    for name in FOUR:
        simulator.restart_site(name)
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)
    assert committed(simulator)[1].committed.epoch > 1


def test_site_restarted_after_the_others_opened_is_given_the_key_by_a_peer(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: 1 in committed(simulator))
    simulator.transport.cut_off.add("birch")
    simulator.step()
    assert [simulator.state(name).base for name in FOUR] == [1, 0, 1, 1]
    simulator.restart_site("birch")
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


def test_site_restarted_before_it_opened_the_last_round_gets_the_final_model(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.CLOSING)
    simulator.transport.cut_off.add("birch")
    simulator.step()
    assert [simulator.state(name).base for name in FOUR] == [3, 2, 3, 3]
    assert not any(simulator.state(name).closed for name in FOUR)
    simulator.restart_site("birch")
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


def test_site_that_never_comes_back_does_not_keep_the_others_from_closing(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.CLOSING)
    simulator.transport.cut_off.add("birch")
    simulator.run(seconds=10)
    require_finished(simulator, "ash", "cedar", "elm")
    assert simulator.entries("birch")[-1].kind == "evaluate"


def test_site_back_after_the_others_closed_without_keys_cannot_catch_up_and_the_study_ends(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.CLOSING)
    simulator.transport.cut_off.add("birch")
    simulator.run(lambda: simulator.state("elm").closed, seconds=10)
    simulator.restart_site("birch")
    simulator.transport.cut_off.clear()
    simulator.run(seconds=10)
    require_finished(simulator, "ash", "cedar", "elm")


def test_every_site_restarted_before_any_could_open_stops_the_study_and_says_why(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: 1 in committed(simulator))
    for name in FOUR:
        simulator.restart_site(name)
    simulator.run(seconds=5)
    assert "sealed under keys that no site holds any more" in (simulator.journal.history().stopped or "")
    require_safe(simulator)


# Coming back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_site_back_after_several_rounds_opens_them_in_order_and_seals_again(found: Found, restarted: bool) -> None:
    simulator = found(small_terms(training={"rounds": 7}, evaluation={"rounds": [3]}))
    in_phase(simulator, Phase.SEALING, 2)
    simulator.transport.cut_off.add("elm")
    simulator.step(1000)
    simulator.run(lambda: 3 in committed(simulator))
    assert simulator.state("elm").base == 0
    if restarted:
        simulator.restart_site("elm")
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert [applied.round for applied in simulator.state("elm").applied] == [1, 2, 3, 4, 5, 6, 7]
    assert "elm" in committed(simulator)[7].committed.cohort
    assert committed(simulator)[7].committed.epoch > committed(simulator)[2].committed.epoch
    assert ("elm", 3) not in simulator.trained


def test_site_that_joins_late_gets_keys_of_an_epoch_that_includes_it(found: Found) -> None:
    """The others have keys of the epoch that it was first asked for; its late answer to that is of no use."""
    simulator = found(small_terms(training={"rounds": 3}))
    simulator.transport.cut_off.add("elm")
    simulator.step()
    simulator.step(100)
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert "elm" in committed(simulator)[3].committed.cohort


def test_questions_that_waited_for_a_restarted_site_do_not_shut_it_out(found: Found) -> None:
    """It was asked to train, then, given up, to join: it says to the first that it knows nothing of the study."""
    simulator = found(small_terms(training={"rounds": 8}))
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.add("elm")
    simulator.run(lambda: 3 in committed(simulator), seconds=5)
    simulator.restart_site("elm")
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    assert "elm" in committed(simulator)[8].committed.cohort


def test_second_answer_to_one_question_has_no_effect(found: Found) -> None:
    """A site slow to load its data is asked to join twice and answers twice; then it dies before it seals."""
    simulator = found(small_terms())
    simulator.transport.cut_off.add("elm")
    simulator.step()
    simulator.step(6)
    simulator.transport.cut_off.clear()
    joined: list[Envelope] = []

    def second_join(name: str, reply: Envelope) -> bool:
        if name == "elm" and isinstance(read_body(reply).content, Joined) and reply not in joined:
            joined.append(reply)
        return reply in joined[1:]

    simulator.transport.slow = second_join
    in_phase(simulator, Phase.SEALING)
    simulator.transport.requests = lambda name, request: None if name == "elm" else request
    simulator.transport.slow = lambda _, reply: False
    assert len(joined) == 2
    simulator.step()
    simulator.step(1000)
    simulator.run(lambda: 1 in committed(simulator))
    assert committed(simulator)[1].committed.cohort == THREE


# Between sealing and release ---------------------------------------------------------------------------------


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


def test_attempt_numbers_of_the_journal_only_rise(found: Found) -> None:
    simulator = found(small_terms())
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.add("elm")
    simulator.step(1000)
    simulator.restart_coordinator()
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    rows = simulator.journal._connection.execute("SELECT body FROM event WHERE kind = 'attempt-asked'").fetchall()
    asked = [AttemptAsked.model_validate_json(body) for (body,) in rows]
    numbers = [(each.round, each.attempt) for each in asked]
    assert numbers == sorted(set(numbers))
