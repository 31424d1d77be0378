"""Sites that were away for a while: they catch up, and what waited for them does no harm."""

import pytest

from benchmarks.small_study import small_terms
from privacy.protocol.envelope import Envelope, read_body
from privacy.protocol.messages import Joined
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, in_phase


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
    assert [applied.round for applied in simulator.history("elm").applied] == [1, 2, 3, 4, 5, 6, 7]
    assert "elm" in committed(simulator)[7].committed.cohort
    assert committed(simulator)[7].committed.epoch > committed(simulator)[2].committed.epoch
    assert ("elm", 3) not in simulator.trained


def test_site_that_lacks_more_keys_than_go_with_an_epoch_gets_them_in_several(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every round has had keys of its own; they come two at a time here, the oldest first, and nobody is out."""
    monkeypatch.setattr("server.study.key_epochs.MAX_EARLIER", 2)
    simulator = found(small_terms(training={"rounds": 12}, evaluation={"rounds": []}))
    simulator.run(lambda: 1 in committed(simulator))
    simulator.transport.cut_off.add("elm")
    simulator.step(1000)
    for number in range(2, 7):
        simulator.restart_site("birch")
        simulator.run(lambda number=number: number in committed(simulator), seconds=5)  # type: ignore[misc]
    assert len({each.committed.epoch for each in committed(simulator).values()}) >= 5
    simulator.restart_site("elm")
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert simulator.journal.read_history().out == {}
    assert [applied.round for applied in simulator.history("elm").applied] == list(range(1, 13))


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
    simulator.step(30)
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
