"""Sites whose process dies and comes back: nobody trains or pays twice, nobody is left behind."""

import pytest

from benchmarks.small_study import small_terms
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, in_phase, trained_once
from tests.simulator import FOUR, PowerCut


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
    integers = simulator.store("ash").read_integers(1)
    simulator.restart_site("ash")
    in_phase(simulator, Phase.RELEASING)
    again = simulator.store("ash").read_integers(1)
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


def test_every_site_restarted_before_any_could_open_opens_all_the_same(found: Found) -> None:
    """The key of what a site has sealed and not yet opened is kept across its restart."""
    simulator = found(small_terms())
    simulator.run(lambda: 1 in committed(simulator))
    for name in FOUR:
        simulator.restart_site(name)
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)
    assert simulator.journal.read_history().void == set()


def test_sites_that_lost_what_they_kept_before_any_could_open_stop_the_study_and_say_why(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: 1 in committed(simulator))
    for name in FOUR:
        for kept in simulator.store(name).folder.glob("*.sealed"):
            kept.unlink()
        simulator.restart_site(name)
    simulator.run(seconds=5)
    why = simulator.journal.read_history().stopped or ""
    assert "sealed under keys that no site holds any more" in why
    assert "launch the study again" in why
    require_safe(simulator)


def test_epoch_that_was_wrapped_in_vain_is_not_wrapped_again(found: Found) -> None:
    """The lead's answer is lost, then it is given up: it keeps the key it drew, so the next one is for a new epoch."""
    simulator = found(small_terms(training={"rounds": 3}))
    simulator.transport.cut_off.add("elm")
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.WRAPPING, seconds=10)
    simulator.transport.replies = lambda name, reply: None if name == "ash" else reply
    simulator.transport.cut_off.clear()
    simulator.run(lambda: simulator.conductor.machine.phase is not Phase.WRAPPING, seconds=10)
    simulator.transport.replies = lambda _, reply: reply
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


def test_offer_that_comes_just_too_late_does_not_make_everybody_begin_again(found: Found) -> None:
    """Three make a cohort, and elm's offer, the last by name, comes when the lead has been asked to wrap."""
    simulator = found(small_terms(training={"rounds": 4}))
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.add("elm")
    simulator.restart_site("birch")
    simulator.step()
    simulator.step(1000)
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    assert simulator.journal.read_history().epoch_asked <= 3
    assert "elm" in committed(simulator)[4].committed.cohort
