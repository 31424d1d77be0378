"""What a malicious coordinator tries with the rounds of a study, and how its sites refuse. Attacks are named."""

from typing import Any

import numpy as np
import pytest

from privacy.errors import WireError
from privacy.keys import SigningKey
from privacy.sealing.parameters import SLOTS
from privacy.signed import Signed
from privacy.study import COORDINATOR
from privacy.wire import (
    Close,
    Closed,
    Envelope,
    Head,
    Header,
    Open,
    Opened,
    Problem,
    Released,
    Reply,
    Sealed,
    Wrap,
    make_envelope,
    read_body,
)
from tests.client.small_study import small_terms, without_privacy
from tests.privacy.sealing.test_tampering import with_evaluator
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_safe
from tests.protocol.mallory import Mallory
from tests.simulator import FOUR

THREE = ("ash", "birch", "cedar")
OTHER_THREE = ("ash", "birch", "elm")


@pytest.fixture
def mallory(found: Found) -> Mallory:
    """In charge of a study whose first key epoch is honestly made."""
    return in_charge(found)


def in_charge(found: Found, **changes: dict[str, Any]) -> Mallory:
    sections: dict[str, dict[str, Any]] = {"training": {"rounds": 4}, "evaluation": {"rounds": [4]}}
    mallory = Mallory(found(small_terms(**{**sections, **changes})))
    mallory.key()
    return mallory


def require_refused(reply: Reply, code: str, sentence: str) -> None:
    assert isinstance(reply, Problem), reply
    assert reply.code == code
    assert sentence in reply.sentence


def require_not_applied(mallory: Mallory, name: str, base: int = 0) -> None:
    """The model is where it was, and the book says what was refused."""
    assert mallory.simulator.state(name).base == base
    last = mallory.simulator.entries(name)[-1]
    assert (last.kind, getattr(last.body, "code", None)) == ("incident", "opening-failed")
    require_safe(mallory.simulator)


# The sum -----------------------------------------------------------------------------------------------------


def test_honest_round_opens(mallory: Mallory) -> None:
    """The attacks below differ from this in one thing each."""
    committed, aggregate = mallory.honest_round()
    assert mallory.open("ash", committed, aggregate) == Opened(base=1, evaluated=None)


def test_one_site_added_twice_does_not_open(mallory: Mallory) -> None:
    mallory.seal()
    seeds = mallory.seeds()
    blobs = [mallory.blobs[name, 1, 1] for name in (*FOUR, "ash")]
    aggregate = mallory.aggregate(blobs, {**seeds, "again": seeds["ash"]})
    require_refused(mallory.open("birch", mallory.committed(), aggregate), "opening-failed", "masks do not cancel")
    require_not_applied(mallory, "birch")


def test_one_site_left_out_does_not_open(mallory: Mallory) -> None:
    mallory.seal()
    seeds = mallory.seeds()
    blobs = [mallory.blobs[name, 1, 1] for name in THREE]
    aggregate = mallory.aggregate(blobs, {name: seeds[name] for name in THREE})
    require_refused(mallory.open("birch", mallory.committed(), aggregate), "opening-failed", "masks do not cancel")
    require_not_applied(mallory, "birch")


def test_constant_added_to_the_aggregate_is_not_applied(mallory: Mallory) -> None:
    """Dead neurons for everybody but one: then the next sum would be that one's update."""
    committed, aggregate = mallory.honest_round()
    slots = np.zeros(SLOTS, dtype=np.uint64)
    slots[2] = 1000
    tampered = with_evaluator(aggregate, lambda e, c, p: e.add_plain_inplace(c, p), slots)
    require_refused(mallory.open("ash", committed, tampered), "opening-failed", "check fields do not hold")
    require_not_applied(mallory, "ash")


def test_second_try_with_the_keys_of_a_refused_aggregate_is_not_even_decrypted(mallory: Mallory) -> None:
    """Each refusal tells a bit about the key: there is one, also for the honest aggregate."""
    committed, aggregate = mallory.honest_round()
    mallory.open("ash", committed, bytes(len(aggregate)))
    reply = mallory.simulator.exchange("ash", Open(committed=committed), aggregate)[0]
    require_refused(reply, "opening-failed", "key epoch 1 has ended here")
    mallory.key(2, lead="birch", earlier=(1,))
    again = mallory.open("ash", committed, aggregate, keys=mallory.keys[2])
    require_refused(again, "opening-failed", "key epoch 1 has ended here")
    require_not_applied(mallory, "ash")


def test_other_rounds_aggregate_does_not_open(mallory: Mallory) -> None:
    committed, first = mallory.honest_round()
    for name in FOUR:
        mallory.open(name, committed, first)
    second, _ = mallory.honest_round(2, base=1)
    require_refused(mallory.open("ash", second, first), "opening-failed", "does not open")
    require_not_applied(mallory, "ash", base=1)


def test_round_that_is_applied_already_has_no_effect(mallory: Mallory) -> None:
    committed, aggregate = mallory.honest_round()
    mallory.open("ash", committed, aggregate)
    before = mallory.simulator.model_file("ash")
    assert mallory.open("ash", committed, aggregate) == Opened(base=1, evaluated=None)
    assert mallory.simulator.model_file("ash") == before


def test_aggregate_under_other_headers_does_not_open(mallory: Mallory) -> None:
    committed, aggregate = mallory.honest_round()
    fewer = committed.model_copy(update={"cohort": THREE, "headers": {n: committed.headers[n] for n in THREE}})
    require_refused(mallory.open("ash", fewer, aggregate), "opening-failed", "another cohort")
    require_not_applied(mallory, "ash")


def test_round_two_before_round_one_is_refused(mallory: Mallory) -> None:
    committed, aggregate = mallory.honest_round()
    for name in THREE:
        mallory.open(name, committed, aggregate)
    mallory.seal(2, cohort=THREE, base=1)
    blobs = [mallory.blobs[name, 2, 1] for name in THREE]
    sum_ = mallory.aggregate(blobs, mallory.seeds(2, names=THREE), 2, base=1)
    reply = mallory.open("elm", mallory.committed(2, cohort=THREE), sum_)
    require_refused(reply, "behind", "builds on round 1, which is not applied here")
    assert mallory.simulator.state("elm").base == 0


# Views -------------------------------------------------------------------------------------------------------


def test_different_cohorts_for_different_sites_release_nothing(mallory: Mallory) -> None:
    for name in THREE:
        mallory.train(name, cohort=THREE)
    mallory.train("elm", cohort=OTHER_THREE)
    require_refused(mallory.release("ash"), "release-refused", "expected the headers of 3 sites")
    mixed = {name: mallory.headers["elm" if name == "cedar" else name, 1, 1] for name in THREE}
    require_refused(mallory.release("ash", headers=mixed), "release-refused", "not by the key")
    some = {name: mallory.headers[name, 1, 1] for name in OTHER_THREE}
    require_refused(mallory.release("elm", headers=some), "release-refused", "ash sealed from another view")
    assert not any(isinstance(reply, Released) for _, reply in mallory.simulator.transport.said)


@pytest.mark.parametrize(
    "other",
    [{"number": 2}, {"attempt": 2}, {"epoch": 2}, {"reference": 80}],
    ids=["round", "attempt", "epoch", "reference"],
)
def test_site_asked_otherwise_keeps_the_others_from_releasing(mallory: Mallory, other: dict[str, int]) -> None:
    mallory.key(2)
    for name in THREE:
        mallory.train(name, keys=mallory.keys[1])
    assert isinstance(mallory.train("elm", **other), Sealed)  # type: ignore[arg-type]
    headers = {name: header for (name, *_), header in mallory.headers.items()}
    require_refused(mallory.release("ash", headers=headers), "release-refused", "another view of the round")


def test_site_on_another_model_keeps_the_others_from_releasing(mallory: Mallory) -> None:
    committed, aggregate = mallory.honest_round()
    for name in THREE:
        mallory.open(name, committed, aggregate)
        mallory.train(name, 2, base=1)
    mallory.train("elm", 2, base=0)
    require_refused(mallory.release("ash", 2), "release-refused", "elm sealed from another view of the round")


def test_tampered_header_is_not_released_for(mallory: Mallory) -> None:
    mallory.seal()
    headers = mallory.headers_of()
    statement = headers["elm"].statement.model_copy(update={"patients": 10})
    forged = {**headers, "elm": headers["elm"].model_copy(update={"statement": statement})}
    require_refused(mallory.release("ash", headers=forged), "release-refused", "a signature is not by the key")


def test_header_of_a_key_that_is_not_the_peers_is_not_released_for(mallory: Mallory) -> None:
    mallory.seal()
    headers = mallory.headers_of()
    puppet = Signed[Header].by(SigningKey.generate(), headers["elm"].statement)
    require_refused(mallory.release("ash", headers={**headers, "elm": puppet}), "release-refused", "not by the key")


def test_peers_header_in_another_peers_place_is_not_released_for(mallory: Mallory) -> None:
    mallory.seal()
    headers = mallory.headers_of()
    forged = {**headers, "elm": headers["cedar"]}
    require_refused(mallory.release("ash", headers=forged), "release-refused", "not by the key")


def test_own_header_of_an_earlier_sealing_is_not_released_for(mallory: Mallory) -> None:
    mallory.seal()
    first = mallory.headers_of()
    mallory.seal(attempt=2)
    mixed = {**mallory.headers_of(attempt=2), "ash": first["ash"]}
    require_refused(mallory.release("ash", attempt=2, headers=mixed), "release-refused", "another view")


def test_headers_of_too_few_sites_are_not_released_for(mallory: Mallory) -> None:
    mallory.seal()
    two = {name: header for name, header in mallory.headers_of().items() if name in ("ash", "birch")}
    require_refused(mallory.release("ash", headers=two), "release-refused", "expected the headers of 4 sites")


# Attempts and cohorts ----------------------------------------------------------------------------------------


def test_second_attempt_after_a_release_is_refused(mallory: Mallory) -> None:
    """Two sums over cohorts that differ by one site would be that site's update."""
    mallory.seal()
    mallory.seeds()
    reply = mallory.train("ash", attempt=2, cohort=THREE)
    require_refused(reply, "released", "released its mask of this round in attempt 1")
    require_safe(mallory.simulator)


def test_second_attempt_after_a_release_and_a_restart_is_refused(mallory: Mallory) -> None:
    mallory.seal()
    mallory.seeds()
    mallory.simulator.restart_site("ash")
    mallory.key(2)
    reply = mallory.train("ash", attempt=2, cohort=THREE, epoch=2)
    require_refused(reply, "released", "released its mask of this round in attempt 1")


def test_mask_of_an_attempt_that_was_overtaken_is_gone(mallory: Mallory) -> None:
    mallory.seal()
    mallory.seal(attempt=2, cohort=THREE)
    require_refused(mallory.release("ash", attempt=1), "epoch-lost", "no mask for attempt 1 of round 1")


def test_attempt_that_is_over_is_not_sealed_again(mallory: Mallory) -> None:
    mallory.seal(attempt=2)
    require_refused(mallory.train("ash", attempt=1), "stale", "attempt 1 of round 1 is over")


@pytest.mark.parametrize("other", [{"cohort": THREE}, {"epoch": 2}], ids=["cohort", "epoch"])
def test_same_attempt_with_another_cohort_or_epoch_is_refused(mallory: Mallory, other: dict[str, object]) -> None:
    mallory.key(2)
    mallory.seal()
    require_refused(mallory.train("ash", **other), "refused", "one cohort and one epoch")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "cohort",
    [
        ("ash", "birch"),
        ("birch", "cedar", "elm"),
        ("ash", "birch", "puppet"),
        ("ash", "ash", "birch"),
        ("elm", "cedar", "ash"),
    ],
    ids=["below the minimum", "without the site", "with a stranger", "named twice", "in another order"],
)
def test_bad_cohort_is_refused_and_nothing_is_paid(mallory: Mallory, cohort: tuple[str, ...]) -> None:
    require_refused(mallory.train("ash", cohort=cohort), "refused", "a cohort names")
    assert mallory.simulator.entries("ash", "reserve") == []
    assert not mallory.simulator.trained


@pytest.mark.parametrize("number", [0, 6], ids=["before the first", "after the last"])
def test_round_outside_the_terms_is_refused(mallory: Mallory, number: int) -> None:
    require_refused(mallory.train("ash", number), "stale", f"round {number} is over here")


def test_closing_evaluation_trains_nobody(mallory: Mallory) -> None:
    assert isinstance(mallory.train("ash", 5), Sealed)
    assert not mallory.simulator.trained


def test_same_question_gets_the_same_bytes_and_is_paid_once(mallory: Mallory) -> None:
    first = mallory.train("ash")
    blob = mallory.blobs["ash", 1, 1]
    assert mallory.train("ash") == first
    assert mallory.blobs["ash", 1, 1] == blob
    assert len(mallory.simulator.entries("ash", "reserve", "settle")) == 2
    assert mallory.simulator.trained == {("ash", 1): 1}


def test_new_attempt_seals_under_a_new_mask_and_is_not_paid_again(mallory: Mallory) -> None:
    mallory.train("ash")
    integers = mallory.simulator.store("ash").integers(1)
    mallory.train("ash", attempt=2, cohort=THREE)
    again = mallory.simulator.store("ash").integers(1)
    assert integers is not None
    assert again is not None
    assert again.tobytes() == integers.tobytes()
    assert mallory.blobs["ash", 1, 1] != mallory.blobs["ash", 1, 2]
    assert len(mallory.simulator.entries("ash", "reserve", "settle")) == 2


def test_more_rounds_than_the_terms_promise_are_not_paid(found: Found) -> None:
    mallory = in_charge(found, training={"rounds": 2}, evaluation={"rounds": []})
    for number in (1, 2):
        assert isinstance(mallory.train("ash", number), Sealed)
    require_refused(mallory.train("ash", 3), "stale", "round 3 is over here")
    require_safe(mallory.simulator)


def test_other_reference_in_a_later_attempt_is_refused(mallory: Mallory) -> None:
    """The stored integers are weighed with the first: under another one the mean would be wrong."""
    mallory.train("ash")
    require_refused(
        mallory.train("ash", attempt=2, reference=200), "refused", "the study's reference is 90, not 200"
    )


# Void rounds -------------------------------------------------------------------------------------------------


def test_without_privacy_the_round_after_a_void_one_is_refused_with_another_cohort(found: Found) -> None:
    """The void round's sum may be open to the coordinator and a colluder: the difference would be elm's update."""
    mallory = Mallory(found(without_privacy(training={"rounds": 4}, evaluation={"rounds": []})))
    mallory.key()
    mallory.seal()
    mallory.seeds()
    reply = mallory.train("ash", 2, cohort=THREE)
    require_refused(reply, "release-refused", "needs the identical cohort")
    assert mallory.simulator.trained["ash", 2] == 0
    assert isinstance(mallory.train("ash", 2), Sealed)


def test_with_privacy_the_round_after_a_void_one_may_have_another_cohort(mallory: Mallory) -> None:
    mallory.seal()
    mallory.seeds()
    assert isinstance(mallory.train("ash", 2, cohort=THREE), Sealed)


# Messages ----------------------------------------------------------------------------------------------------


def test_replayed_request_is_stale(mallory: Mallory) -> None:
    request = mallory.simulator.signed("ash", Close(base=0))
    first = read_body(mallory.simulator.sites["ash"].answer(request)).content
    assert isinstance(first, Closed)
    again = read_body(mallory.simulator.sites["ash"].answer(request)).content
    assert isinstance(again, Problem)
    assert again.code == "stale"


def test_request_for_another_site_has_no_effect(mallory: Mallory) -> None:
    request = mallory.simulator.signed("birch", Close(base=0))
    with pytest.raises(WireError, match="reached 'ash'"):
        mallory.simulator.sites["ash"].answer(request)


def test_request_that_the_pinned_coordinator_has_not_signed_has_no_effect(mallory: Mallory) -> None:
    simulator = mallory.simulator
    request = make_envelope(
        SigningKey.generate(),
        Close(base=0),
        study=simulator.study,
        sender=COORDINATOR,
        receiver="ash",
        number=1000,
    )
    with pytest.raises(WireError, match="not by the key"):
        simulator.sites["ash"].answer(request)
    assert not simulator.state("ash").closed


def test_blob_exchanged_on_its_way_has_no_effect(mallory: Mallory) -> None:
    committed, aggregate = mallory.honest_round()
    sent = mallory.simulator.signed("ash", Open(keys=mallory.keys[1], committed=committed), aggregate)
    with pytest.raises(WireError, match="blobs are not those"):
        mallory.simulator.sites["ash"].answer(Envelope(sent.body, sent.signature, (bytes(len(aggregate)),)))


def test_witnessed_head_that_is_not_in_the_book_is_a_rollback_and_nothing_is_trained(mallory: Mallory) -> None:
    reply = mallory.train("ash", witnessed=Head(number=40, hash="ab" * 32))
    require_refused(reply, "refused", "it was rolled back or replaced; restore the newest backup")
    last = mallory.simulator.entries("ash")[-1].body
    assert getattr(last, "code", "") == "rollback"
    assert not mallory.simulator.trained


def test_witnessed_head_of_another_history_is_a_rollback(mallory: Mallory) -> None:
    reply = mallory.train("ash", witnessed=Head(number=1, hash="ab" * 32))
    require_refused(reply, "refused", "entry 1 of this site's ledger")


def test_study_closed_early_is_not_trained_in_again(mallory: Mallory) -> None:
    mallory.simulator.exchange("ash", Close(base=0))
    require_refused(mallory.train("ash"), "stale", "the study is closed at this site")


# Keys --------------------------------------------------------------------------------------------------------


def test_offer_of_a_puppet_in_a_peers_place_is_not_wrapped_for(mallory: Mallory) -> None:
    offers = dict(mallory.keys[1].offers)
    puppet = offers["elm"].statement.model_copy(update={"session_key": offers["ash"].statement.session_key})
    offers["elm"] = type(offers["elm"]).by(SigningKey.generate(), puppet)
    reply, _ = mallory.simulator.exchange("ash", Wrap(epoch=1, offers=offers))
    require_refused(reply, "refused", "not by the key")


def test_offer_of_another_epoch_is_not_wrapped_for(mallory: Mallory) -> None:
    mallory.key(2)
    offers = {**mallory.keys[2].offers, "elm": mallory.keys[1].offers["elm"]}
    reply, _ = mallory.simulator.exchange("ash", Wrap(epoch=2, offers=offers))
    require_refused(reply, "refused", "the key offer of 'elm' is for another study or epoch")


@pytest.mark.parametrize("lead", ["ash", "birch"])
def test_two_study_keys_in_one_epoch_release_nothing(mallory: Mallory, lead: str) -> None:
    """Two leads are asked to wrap: sites with different keys say so in their headers."""
    first = mallory.key(3)
    second = mallory.key(3, lead="birch")
    for name, keys in zip(FOUR, (first, second, first, first), strict=True):
        mallory.train(name, epoch=3, keys=keys)
    require_refused(mallory.release(lead), "release-refused", "another view of the round")


def test_grant_that_leaves_the_site_out_is_not_taken(mallory: Mallory) -> None:
    mallory.join("elm", 2)
    mallory.key(2, names=THREE)
    reply = mallory.train("elm", epoch=2)
    assert isinstance(reply, Problem)
    assert reply.code == "epoch-lost"
