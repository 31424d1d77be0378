"""Honest sites are led to different models in the last round, where no next round would show it."""

import pytest

from benchmarks.small_study import small_terms
from client.prediction.release_contract import MODEL_FILE
from privacy.keys import SigningKey
from privacy.protocol.envelope import read_body
from privacy.protocol.headers import Committed, Header
from privacy.protocol.messages import Close, Closed, HeldModel, Joined, Open, Opened, Problem, Reply
from privacy.signed import Signed
from server.study.sites import SiteStatus
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.mallory import Mallory, in_charge, require_refused
from tests.simulator import FOUR

TERMS = small_terms(training={"rounds": 1}, evaluation={"rounds": []})


@pytest.fixture
def at_the_end(found: Found) -> Mallory:
    """In charge of a study of one round, which has not been opened yet."""
    return in_charge(found(TERMS))


def identity(mallory: Mallory, name: str) -> SigningKey:
    return mallory.simulator.homes[name].load_identity()


def say(mallory: Mallory, name: str, committed: Committed, aggregate: bytes) -> Signed[HeldModel]:
    """What a site signs of the model that it holds after opening."""
    request = Open(keys=mallory.keys[1], committed=committed, sign_held=1)
    reply = mallory.simulator.exchange(name, request, aggregate)[0]
    assert isinstance(reply, Opened), reply
    assert reply.held is not None
    return reply.held


def close(mallory: Mallory, name: str, held: dict[str, Signed[HeldModel]]) -> Reply:
    return mallory.simulator.exchange(name, Close(base=1, held=held))[0]


def is_released(mallory: Mallory, name: str) -> bool:
    simulator = mallory.simulator
    return (simulator.homes[name].find_study_folder(simulator.study) / "release" / MODEL_FILE).exists()


@pytest.mark.parametrize("lie", [0, 10**9])
def test_second_header_with_another_weight_is_neither_released_against_nor_opened(
    at_the_end: Mallory, lie: int
) -> None:
    """Elm signs another patient count for some sites: they would apply another mean."""
    mallory = at_the_end
    mallory.seal()
    headers = mallory.headers_of()
    forged = headers["elm"].statement.model_copy(update={"patients": lie})
    lying = {**headers, "elm": Signed[Header].sign(identity(mallory, "elm"), forged)}
    require_refused(mallory.release("ash", headers=lying), "release-refused", "another patient count")
    blobs = [mallory.blobs[name, 1, 1] for name in FOUR]
    aggregate = mallory.aggregate(blobs, mallory.seeds())
    committed = mallory.committed().model_copy(update={"headers": lying})
    require_refused(mallory.open("ash", committed, aggregate), "opening-failed", "another patients")
    assert mallory.simulator.state("ash").base == 0


def test_offer_with_another_count_is_not_the_epochs(at_the_end: Mallory) -> None:
    """The counts of a view are those that everybody has offered: another one changes the view, and no mask cancels."""
    mallory = at_the_end
    mallory.seal()
    counted = {name: header.statement.view.patients for name, header in mallory.headers_of().items()}
    assert len(set(counted.values())) == 1
    joined = mallory.join("elm", 2)
    assert isinstance(joined, Joined)
    assert joined.offer.statement.patients == mallory.simulator.state("elm").patients


def test_site_closes_only_with_a_quorum_that_holds_its_model(at_the_end: Mallory) -> None:
    mallory = at_the_end
    committed, aggregate = mallory.honest_round()
    held = {name: say(mallory, name, committed, aggregate) for name in FOUR}
    for few in ({}, {"ash": held["ash"]}, {name: held[name] for name in ("ash", "elm")}):
        require_refused(close(mallory, "ash", few), "too-few", "")
        assert not is_released(mallory, "ash")
    require_refused(close(mallory, "ash", {name: held[name] for name in FOUR[1:]}), "too-few", "own word")
    assert isinstance(close(mallory, "ash", {name: held[name] for name in ("ash", "birch", "elm")}), Closed)
    assert is_released(mallory, "ash")


def test_honest_sites_with_different_models_do_not_both_release(at_the_end: Mallory) -> None:
    """Elm signs whatever each of two halves holds: three of four are a quorum, and no two halves have one."""
    mallory = at_the_end
    committed, aggregate = mallory.honest_round()
    held = {name: say(mallory, name, committed, aggregate) for name in FOUR}
    other = {"model": "0" * 64}
    for name in ("cedar", "elm"):  # as if they had been shown another aggregate
        lie = held[name].statement.model_copy(update=other)
        held[f"{name} elsewhere"] = Signed[HeldModel].sign(identity(mallory, name), lie)
    shown_to_ash = {
        "ash": held["ash"],
        "birch": held["birch"],
        "cedar": held["cedar elsewhere"],
        "elm": held["elm elsewhere"],
    }
    reply = close(mallory, "ash", shown_to_ash)
    require_refused(reply, "different-models", "2 of the last round's 4 sites")
    assert not is_released(mallory, "ash")
    (incident,) = mallory.simulator.entries("ash", "incident")
    assert "cedar, elm hold different models" in incident.body.sentence  # type: ignore[attr-defined]


def test_one_site_that_lies_about_its_model_hinders_nobody_and_is_out(found: Found) -> None:
    simulator = found(TERMS)

    def lie(name: str, reply: object) -> object:
        content = read_body(reply).content  # type: ignore[arg-type]
        if name == "elm" and isinstance(content, Opened) and content.held is not None:
            lied = content.held.statement.model_copy(update={"model": "0" * 64})
            held = Signed[HeldModel].sign(simulator.homes["elm"].load_identity(), lied)
            return simulator.forged("elm", reply, content.model_copy(update={"held": held}))  # type: ignore[arg-type]
        return reply

    simulator.transport.replies = lie  # type: ignore[assignment]
    simulator.run(seconds=5)
    machine = simulator.conductor.machine
    assert machine.phase is Phase.DONE
    assert machine.sites["elm"].standing is SiteStatus.OUT
    assert "another model than the others" in machine.sites["elm"].why
    assert all(simulator.state(name).closed for name in FOUR[:3])
    assert not [each for _, each in simulator.transport.said if isinstance(each, Problem)]


def test_word_of_another_study_or_round_does_not_count(at_the_end: Mallory) -> None:
    mallory = at_the_end
    committed, aggregate = mallory.honest_round()
    held = {name: say(mallory, name, committed, aggregate) for name in FOUR}
    for change in ({"study": "other-00000000"}, {"base": 0}, {"launch": "0" * 64}, {"site": "birch"}, {"epoch": 9}):
        stale = {
            name: Signed[HeldModel].sign(identity(mallory, name), held[name].statement.model_copy(update=change))
            for name in ("cedar", "elm")
        }
        reply = close(mallory, "ash", {**held, **stale})
        assert isinstance(reply, Problem), change
        assert reply.code in ("too-few", "different-models")
    assert not is_released(mallory, "ash")
