"""A study that waits for people: at the site, at the coordinator, over restarts, and against those in a hurry."""

from typing import Any

import pytest

from benchmarks.small_study import small_terms
from client.data.dataset import StudyFiles
from client.study.request_handler import RequestHandler
from client.study.waiting_studies import WaitingStudies
from client.training.interface import TrainingInterface
from client.training.session import TrainingSession
from privacy.ledger.entries import About, Choice
from privacy.protocol.messages import GivenUp, GiveUp, Join, Joined, Problem, Waiting
from privacy.refusal_codes import RefusalCode
from privacy.study.launch import Launch, SignedLaunch, verify_order
from server.results.read import read_results, read_summary
from server.study.events import GaveUp, Resumed, StudyStatus
from server.study.notes import ReplyReceived, RequestSent
from server.study.sites import SiteStatus
from server.study.state import Phase
from server.study.timeouts import Timeouts
from tests.privacy.launch_makers import key_number, order_again
from tests.protocol.conftest import Found
from tests.protocol.moments import THREE
from tests.simulator import Simulator, change_policy

CONTACT = "Ada, +49 30 1234"


def decide(simulator: Simulator, name: str, choice: Choice = Choice.APPROVE, by: str = "Ada", **more: Any) -> None:
    """What ``consilium-site approve`` writes, while the site runs."""
    with simulator.homes[name].open_ledger() as ledger:
        waiting = WaitingStudies(simulator.homes[name]).require(simulator.study)
        ledger.decide(simulator.study, About.ADMISSION, choice, by, launch=waiting.launch.statement.digest, **more)


def wait_for_people(simulator: Simulator, *names: str, **policy: object) -> None:
    for name in names:
        change_policy(simulator.homes[name], automatic=[], contact=CONTACT, **policy)


def waiting_at(simulator: Simulator, name: str) -> list[str]:
    return [each.study for each in WaitingStudies(simulator.homes[name]).list_all()]


def standings(simulator: Simulator) -> dict[str, SiteStatus]:
    return {name: site.standing for name, site in simulator.conductor.machine.sites.items()}


@pytest.fixture
def simulator(found: Found) -> Simulator:
    """Elm's people decide; the others have a rule that admits the study."""
    simulator = found(small_terms(), launch=False)
    wait_for_people(simulator, "elm")
    simulator.launch()
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.WAITING)
    return simulator


# one decision ------------------------------------------------------------------------------------------------


def test_study_waits_and_nothing_is_paid_set_aside_or_trained_anywhere(simulator: Simulator) -> None:
    simulator.run(lambda: simulator.now > 3600, seconds=60)
    assert standings(simulator)["elm"] is SiteStatus.DECIDING
    assert [entry.kind for entry in simulator.entries("elm")] == ["open", "population", "grant", "require"]
    assert not simulator.has_begun("elm")
    assert not simulator.trained
    assert waiting_at(simulator, "elm") == [simulator.study]


def test_decision_reaches_the_study_within_half_a_minute_and_all_take_part(simulator: Simulator) -> None:
    simulator.run(lambda: simulator.now > 3600, seconds=15)
    decide(simulator, "elm")
    decided = simulator.now
    simulator.run(lambda: standings(simulator)["elm"] is not SiteStatus.DECIDING, seconds=1)
    assert simulator.now - decided <= 30
    simulator.run()
    assert simulator.conductor.machine.phase is Phase.DONE
    assert {name for name, _ in simulator.trained} == set(simulator.names)
    assert waiting_at(simulator, "elm") == []


def test_results_say_who_is_waited_for_since_when_and_whom_to_call(simulator: Simulator) -> None:
    folder = simulator.journal.folder
    shown = read_results(folder)
    (elm,) = [site for site in shown.sites if site.state is SiteStatus.DECIDING]
    assert (elm.name, elm.contact) == ("elm", CONTACT)
    assert elm.waits_since == WaitingStudies(simulator.homes["elm"]).list_all()[0].since
    assert "its people have not decided yet: 0 of 1 agreed" in elm.why
    summary = read_summary(folder)
    assert summary.standing is StudyStatus.WAITING
    assert summary.why == f"people have not decided at elm (since {elm.waits_since}, call {CONTACT})"
    assert summary.deciding == {"elm": f"since {elm.waits_since}, call {CONTACT}"}


def test_refusal_of_a_person_reaches_the_study_with_their_reason_and_the_others_go_on(simulator: Simulator) -> None:
    decide(simulator, "elm", Choice.REFUSE, why="the ethics board meets in May")
    simulator.run(seconds=5)
    assert simulator.conductor.machine.phase is Phase.DONE
    elm = simulator.conductor.machine.sites["elm"]
    assert elm.standing is SiteStatus.REFUSED
    assert elm.why == "people of this site have refused it: the ethics board meets in May"
    assert waiting_at(simulator, "elm") == []
    assert [entry.kind for entry in simulator.entries("elm")][-2:] == ["decide", "refuse"]


def test_approval_ahead_of_the_launch_admits_without_a_wait(found: Found) -> None:
    simulator = found(small_terms(), launch=False)
    wait_for_people(simulator, "elm")
    with simulator.homes["elm"].open_ledger() as ledger:
        ledger.approve(simulator.terms.digest, "Ada")
    simulator.launch()
    simulator.run()
    assert simulator.conductor.machine.phase is Phase.DONE
    (allow,) = simulator.entries("elm", "allow")
    assert getattr(allow.body, "approval", None) == simulator.entries("elm", "approve")[0].number


def test_two_people_are_two_people(found: Found) -> None:
    """The same name in another spelling is one person, and one who refuses is enough."""
    simulator = found(small_terms(), launch=False)
    wait_for_people(simulator, "elm", persons=2)
    simulator.launch()
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.WAITING)
    for name in ("Ada Loève", " ada  LOÈVE ", "Ada Loe\u0300ve", "A\u200bda Lo\u00adève\u2060", "\uff21da Loève"):
        decide(simulator, "elm", by=name)
        simulator.run(lambda: "1 of 2" in simulator.conductor.machine.sites["elm"].why, seconds=5)
        assert not simulator.has_begun("elm")
    decide(simulator, "elm", by="Bob")
    simulator.run()
    assert simulator.has_begun("elm")


# time and restarts -------------------------------------------------------------------------------------------


def test_study_stops_when_nobody_decides_and_says_who(simulator: Simulator) -> None:
    simulator.run(seconds=3600)
    stopped = simulator.journal.read_history().stopped or ""
    assert stopped.startswith("after 14 days of waiting: people have not decided at elm (since ")
    assert f"call {CONTACT})" in stopped
    assert f"consilium study resume {simulator.study}" in stopped
    assert f"consilium study give-up {simulator.study}" in stopped
    assert simulator.now >= Timeouts().approval_s
    simulator.resume()
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.WAITING)
    decide(simulator, "elm")
    simulator.run(seconds=5)
    assert simulator.conductor.machine.phase is Phase.DONE


def test_restarts_of_both_sides_change_nothing(simulator: Simulator) -> None:
    since = WaitingStudies(simulator.homes["elm"]).list_all()[0].since
    for _ in range(2):
        simulator.restart_site("elm")
        simulator.run(lambda: not simulator.transport.restarted, seconds=5)
        simulator.restart_coordinator()
        simulator.run(lambda: simulator.conductor.machine.phase is Phase.WAITING, seconds=5)
    assert WaitingStudies(simulator.homes["elm"]).list_all()[0].since == since
    assert len(simulator.entries("elm", "require")) == 1
    decide(simulator, "elm")
    simulator.restart_site("elm")
    simulator.restart_coordinator()
    simulator.run(seconds=5)
    assert simulator.conductor.machine.phase is Phase.DONE


def test_site_that_is_away_while_its_people_decide_is_still_waited_for(simulator: Simulator) -> None:
    simulator.transport.offline.add("elm")
    simulator.run(lambda: simulator.now > 7200, seconds=60)
    assert standings(simulator)["elm"] is SiteStatus.DECIDING
    assert simulator.conductor.machine.phase is Phase.WAITING
    decide(simulator, "elm")
    simulator.transport.offline.clear()
    simulator.run(seconds=10)
    assert standings(simulator)["elm"] is SiteStatus.CLOSED


def test_site_that_came_late_and_whose_people_decide_holds_up_nobody(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 3}), launch=False)
    wait_for_people(simulator, "elm")
    simulator.transport.cut_off.add("elm")
    simulator.launch()
    simulator.run(lambda: simulator.journal.read_history().base >= 1, seconds=10)
    simulator.transport.cut_off.clear()
    simulator.run(lambda: standings(simulator)["elm"] is SiteStatus.DECIDING, seconds=5)
    assert simulator.conductor.machine.phase is not Phase.WAITING
    decide(simulator, "elm")
    simulator.run(seconds=5)
    assert simulator.conductor.machine.phase is Phase.DONE
    assert simulator.has_begun("elm")


def test_notes_of_a_long_wait_are_few(simulator: Simulator) -> None:
    simulator.run(lambda: simulator.now > 20_000, seconds=60)
    notes = [
        note
        for note in simulator.journal.read_notes()
        if isinstance(note, RequestSent | ReplyReceived) and note.site == "elm"
    ]
    assert len(notes) <= 4


def test_admission_that_broke_off_does_not_count_against_its_own_quota(simulator: Simulator) -> None:
    """The disk failed between the ledger's entry and the study's folder, where a crash does the same."""
    elm, study = simulator.homes["elm"], simulator.study
    bound = simulator.terms.asked_epsilon
    policy = {"automatic": [{"name": "all", "epsilon_at_most": 100, "without_privacy": True}]}
    change_policy(elm, **policy, epsilon_per_year=bound)
    WaitingStudies(elm).forget(study)
    in_the_way = elm.find_study_folder(study)
    in_the_way.write_bytes(b"")
    join = Join(launch=simulator.journal.read_launch(), epoch=1)
    reply, _ = simulator.exchange("elm", join)
    assert isinstance(reply, Problem)
    assert reply.code is RefusalCode.UNAVAILABLE
    assert len(simulator.entries("elm", "allow")) == 1
    in_the_way.unlink()
    reply, _ = simulator.exchange("elm", join)
    assert isinstance(reply, Joined)
    assert len(simulator.entries("elm", "allow")) == 1


# giving up -----------------------------------------------------------------------------------------------------


def test_study_that_the_coordinator_gives_up_waits_no_longer(simulator: Simulator) -> None:
    simulator.conductor._carry_out(simulator.conductor.machine.stop("for now"), simulator.now)
    simulator.journal.record(GaveUp())
    simulator.journal.record(Resumed())
    simulator.restart_coordinator()
    simulator.run()
    assert waiting_at(simulator, "elm") == []
    assert not simulator.homes["elm"].find_study_folder(simulator.study).exists()


def test_another_launch_cannot_be_given_up_in_its_place(simulator: Simulator) -> None:
    reply, _ = simulator.exchange("elm", GiveUp(launch="0" * 64))
    assert isinstance(reply, Problem)
    assert waiting_at(simulator, "elm") == [simulator.study]
    reply, _ = simulator.exchange("elm", GiveUp(launch=simulator.journal.read_launch().statement.digest))
    assert isinstance(reply, GivenUp)
    assert waiting_at(simulator, "elm") == []


# attacks -------------------------------------------------------------------------------------------------------


def relaunched(simulator: Simulator, **changes: object) -> SignedLaunch:
    """Another launch of the study that a coordinator with an operator's key makes."""
    old = simulator.journal.read_launch().statement
    launch = order_again({**dict(old), "nonce": "0" * 32, **changes}, simulator.federation.load_operator())
    return SignedLaunch.sign(simulator.federation.load_identity(), launch)


def test_decision_about_one_launch_admits_no_other_of_the_same_terms(simulator: Simulator) -> None:
    """The coordinator launches the same terms twice on one approval: a decision is about one launch."""
    decide(simulator, "elm")
    simulator.run(lambda: simulator.has_begun("elm"), seconds=5)
    again = relaunched(simulator)
    simulator.study = again.statement.study
    reply, _ = simulator.exchange("elm", Join(launch=again, epoch=1))
    assert isinstance(reply, Waiting)
    assert not simulator.has_begun("elm")


def test_terms_that_change_after_the_decision_need_another_decision(simulator: Simulator) -> None:
    decide(simulator, "elm")
    other = relaunched(simulator, terms=small_terms(training={"learning_rate": 0.25}))
    simulator.study = other.statement.study
    reply, _ = simulator.exchange("elm", Join(launch=other, epoch=1))
    assert isinstance(reply, Waiting)


def test_launch_that_the_operator_did_not_order_never_waits_for_people(simulator: Simulator) -> None:
    """The coordinator changes the number of sites behind the operator's back."""
    old = simulator.journal.read_launch().statement
    forged = Launch.model_validate({**dict(old), "nonce": "1" * 32})
    simulator.study = forged.study
    signed = SignedLaunch.sign(simulator.federation.load_identity(), forged)
    reply, _ = simulator.exchange("elm", Join(launch=signed, epoch=1))
    assert isinstance(reply, Problem)
    assert reply.code is RefusalCode.ORDER
    assert forged.study not in waiting_at(simulator, "elm")


def test_order_that_is_launched_again_with_another_roster_is_refused(simulator: Simulator) -> None:
    """The coordinator waits until a site has another key, and launches an operator's old order once more."""
    old, elm = simulator.journal.read_launch().statement, simulator.homes["elm"]
    decide(simulator, "elm")
    simulator.run(lambda: simulator.has_begun("elm"), seconds=5)
    key = key_number(9).public
    elm.forget_peer("ash")
    elm.pin_peer("ash", key)
    roster = [each.model_copy(update={"identity": key.text}) if each.name == "ash" else each for each in old.roster]
    again = Launch.model_validate({**dict(old), "roster": roster})
    assert verify_order(again) == old.order.statement
    simulator.study = again.study
    change_policy(elm, automatic=[{"name": "all", "epsilon_at_most": 100}])
    signed = SignedLaunch.sign(simulator.federation.load_identity(), again)
    reply, _ = simulator.exchange("elm", Join(launch=signed, epoch=1))
    assert isinstance(reply, Problem)
    assert reply.code is RefusalCode.ORDER
    assert "one order is one launch" in reply.sentence
    assert not simulator.has_begun("elm")
    assert len(simulator.entries("elm", "require")) == 1


def test_refusal_while_the_study_is_being_admitted_is_an_answer_and_the_site_goes_on(simulator: Simulator) -> None:
    """Ada has agreed; Bob refuses while the site makes the first model, which takes minutes for a large one."""
    decide(simulator, "elm")
    elm = simulator.homes["elm"]

    def make_training(launch: Launch, files: StudyFiles) -> TrainingInterface:
        decide(simulator, "elm", Choice.REFUSE, by="Bob")
        return TrainingSession(launch.terms, files, "cpu")

    simulator.sites["elm"].close()
    simulator.sites["elm"] = RequestHandler(elm, make_training)
    reply, _ = simulator.exchange("elm", Join(launch=simulator.journal.read_launch(), epoch=1))
    assert isinstance(reply, Problem)
    assert (reply.code, "bob" in reply.sentence.casefold()) == (RefusalCode.APPROVAL, False)
    assert [entry.kind for entry in simulator.entries("elm")][-2:] == ["decide", "refuse"]
    reply, _ = simulator.exchange("elm", Join(launch=simulator.journal.read_launch(), epoch=1))
    assert isinstance(reply, Problem)
    assert "people of this site have refused it" in reply.sentence


def test_old_requests_replayed_after_the_decision_have_no_effect(simulator: Simulator) -> None:
    asked = simulator.transport.asked["elm"]
    decide(simulator, "elm")
    reply = simulator.sites["elm"].answer(asked)
    assert b'"code":"stale"' in reply.body
    assert not simulator.has_begun("elm")


def test_flood_of_launches_that_wait_is_bounded(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.study.waiting_studies.MAX_WAITING", 3)
    study, replies = simulator.study, []
    for number in range(4):
        launch = relaunched(simulator, nonce=f"{number:032x}")
        simulator.study = launch.statement.study
        replies.append(simulator.exchange("elm", Join(launch=launch, epoch=1))[0])
    assert [type(reply) for reply in replies] == [Waiting, Waiting, Problem, Problem]
    assert len(waiting_at(simulator, "elm")) == 3
    simulator.study = study
    reply, _ = simulator.exchange("elm", Join(launch=simulator.journal.read_launch(), epoch=1))
    assert isinstance(reply, Waiting), "one that waits already still waits"


def test_site_that_says_waiting_to_another_question_has_failed(found: Found) -> None:
    """A site delays a round with a reply that is for admission only."""
    simulator = found(small_terms(), names=THREE)
    simulator.run(lambda: simulator.all_have(0))
    said = Waiting(since="2026-03-02T08:00:00Z", contact="", sentence="later")

    def change(name: str, envelope: Any) -> Any:
        late = name == "ash" and b'"kind":"sealed"' in envelope.body
        return simulator.forged(name, envelope, said) if late else envelope

    simulator.transport.replies = change
    simulator.run(lambda: simulator.conductor.machine.sites["ash"].failures > 0, seconds=1)
    assert standings(simulator)["ash"] is not SiteStatus.DECIDING


def test_policy_that_admits_by_a_rule_names_the_rule_in_the_ledger(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: simulator.all_have(0))
    (required,) = simulator.entries("ash", "require")
    assert (getattr(required.body, "rule", ""), getattr(required.body, "persons", 9)) == ("every-study", 0)
    assert isinstance(simulator.transport.said[0][1], Joined)
