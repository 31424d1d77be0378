"""A study that is given up returns its allowance, and what was paid stays paid; nothing more of it leaves."""

from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.small_study import small_terms
from client.study.held_budget import give_back_abandoned, list_holds
from privacy.ledger.entries import Ending, Return
from privacy.protocol.messages import Close, GivenUp, GiveUp, Join, Open, Problem, Release
from server.results.read import read_results, read_summary
from server.study.events import GaveUp, Resumed, StudyStatus
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_safe
from tests.protocol.mallory import Mallory, require_refused
from tests.simulator import FOUR, Simulator

LATER = datetime.now(UTC) + timedelta(days=31)


def give_up(simulator: Simulator) -> None:
    """The operator gives up a study that is stopped."""
    simulator.journal.record(GaveUp())
    simulator.journal.record(Resumed())
    simulator.restart_coordinator()


def amounts(simulator: Simulator, name: str) -> tuple[int, int]:
    """What the site's grant has spent, and set aside."""
    with simulator.homes[name].open_ledger() as ledger:
        (grant,) = ledger.read_state().list_budgets()[0].grants
    return grant.spent, grant.set_aside


def ends(simulator: Simulator, name: str) -> list[str]:
    return [entry.body.why for entry in simulator.entries(name, "return") if isinstance(entry.body, Return)]


def test_launch_that_could_not_begin_gives_everything_back_once_it_is_given_up(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: simulator.all_have(0) and simulator.conductor.machine.phase is Phase.SEALING)
    simulator.conductor._carry_out(simulator.conductor.machine.stop("two sites refuse"), simulator.now)
    assert amounts(simulator, "ash")[1] > 0
    give_up(simulator)
    simulator.run()
    assert simulator.conductor.machine.phase is Phase.DONE
    for name in FOUR:
        spent, set_aside = amounts(simulator, name)
        paid = [entry.body.charge for entry in simulator.entries(name, "reserve")]  # type: ignore[attr-defined]
        assert (spent, set_aside, ends(simulator, name)) == (sum(paid), 0, ["given-up"])


def test_given_up_study_keeps_what_it_paid_and_its_site_trains_and_releases_nothing_more(mallory: Mallory) -> None:
    """A coordinator says "given up" to have a site pay less than it used, or to have a round for nothing."""
    simulator = mallory.simulator
    mallory.seal()
    spent, _ = amounts(simulator, "ash")
    assert spent > 0
    launch = mallory.launch.statement.digest
    reply = simulator.exchange("ash", GiveUp(launch=launch))[0]
    assert isinstance(reply, GivenUp)
    assert amounts(simulator, "ash") == (spent, 0)
    before = len(simulator.entries("ash"))
    require_refused(mallory.train("ash", attempt=2), "given-up", "takes no further part, and releases nothing")
    require_refused(mallory.train("ash", 2, base=0), "given-up", "given up by its coordinator")
    require_refused(mallory.release("ash"), "given-up", "releases nothing")
    require_refused(simulator.exchange("ash", Close(base=0))[0], "given-up", "releases nothing")
    join = Join(launch=simulator.journal.read_launch(), epoch=2)
    require_refused(simulator.exchange("ash", join)[0], "given-up", "takes no further part")
    simulator.restart_site("ash")
    require_refused(simulator.exchange("ash", join)[0], "given-up", "takes no further part")
    assert isinstance(simulator.exchange("ash", GiveUp(launch=launch))[0], GivenUp)  # again: nothing changes
    assert len(simulator.entries("ash")) == before
    assert list(simulator.store("birch").folder.glob("*.sealed"))
    assert not list(simulator.store("ash").folder.glob("*.sealed")), "what it kept to release is gone"
    assert not (simulator.homes["ash"].find_study_folder(simulator.study) / "release").exists()
    require_safe(simulator)


def test_give_up_of_another_launch_under_the_same_name_is_refused(mallory: Mallory) -> None:
    reply = mallory.simulator.exchange("ash", GiveUp(launch="9" * 64))[0]
    require_refused(reply, "refused", "admitted with another launch")
    assert amounts(mallory.simulator, "ash")[1] > 0


def test_give_up_of_a_study_that_was_never_admitted_changes_nothing(found: Found) -> None:
    simulator = found(small_terms())
    before = len(simulator.entries("ash"))
    launch = simulator.journal.read_launch().statement.digest
    assert isinstance(simulator.exchange("ash", GiveUp(launch=launch))[0], GivenUp)
    assert len(simulator.entries("ash")) == before


def test_site_that_is_away_when_a_study_is_given_up_does_not_hold_up_the_others(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.SEALING)
    simulator.conductor._carry_out(simulator.conductor.machine.stop("enough"), simulator.now)
    simulator.transport.offline.add("elm")
    give_up(simulator)
    simulator.run(seconds=5)
    assert simulator.conductor.machine.phase is Phase.DONE
    assert [ends(simulator, name) for name in FOUR] == [["given-up"]] * 3 + [[]]


def test_study_of_which_nothing_is_heard_gives_back_by_itself_and_is_over(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: simulator.all_have(0) and simulator.conductor.machine.phase is Phase.SEALING)
    home = simulator.homes["ash"]
    with home.open_ledger() as ledger:
        (hold,) = list_holds(ledger.copy_state(), home)
        assert (hold.study, hold.grant, hold.epsilon > 0) == (simulator.study, 1, True)
        assert hold.given_back_on == f"{datetime.fromisoformat(hold.last_heard) + timedelta(days=30):%Y-%m-%d}"
        assert give_back_abandoned(ledger, home, LATER - timedelta(days=2)) == []
        assert give_back_abandoned(ledger, home, LATER) == [simulator.study]
        assert give_back_abandoned(ledger, home, LATER) == []
        assert list_holds(ledger.copy_state(), home) == []
    join = Join(launch=simulator.journal.read_launch(), epoch=9)
    require_refused(simulator.exchange("ash", join)[0], "given-up", "since nothing came of it")
    assert ends(simulator, "ash") == ["abandoned"]


@pytest.mark.parametrize("kind", [Open, Release])
def test_kinds_of_requests_that_a_withdrawn_site_refuses(mallory: Mallory, kind: type) -> None:
    simulator = mallory.simulator
    committed, aggregate = mallory.honest_round()
    with simulator.homes["ash"].open_ledger() as ledger:
        ledger.give_back(simulator.study, Ending.WITHDRAWN)
    reply = mallory.open("ash", committed, aggregate) if kind is Open else mallory.release("ash")
    assert isinstance(reply, Problem)
    assert reply.code == "given-up"


def test_given_up_study_is_listed_as_such(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.SEALING)
    simulator.conductor._carry_out(simulator.conductor.machine.stop("enough"), simulator.now)
    give_up(simulator)
    simulator.run()
    folder = simulator.federation.find_study_folder(simulator.study)
    assert {read_summary(folder).standing, read_results(folder).standing} == {StudyStatus.GIVEN_UP}
