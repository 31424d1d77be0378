"""What a malicious coordinator, or a malicious lead, tries with the keys of an epoch."""

import os

import pytest

from benchmarks.small_study import small_terms
from client.study.key_epochs import WRAP_LABEL, Epochs
from privacy.base64url import encode_wrapped_key
from privacy.canonical import to_canonical
from privacy.errors import RefusedError
from privacy.keys import SigningKey, wrap
from privacy.protocol.envelope import Envelope, read_body
from privacy.protocol.key_messages import KeyGrant, KeyOffer, KeyParcel, Wrap, Wrappings, compute_offers_digest
from privacy.protocol.messages import Joined, Opened, Problem, Sealed
from privacy.refusal_codes import RefusalCode
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.signed import Signed
from server.study.notes import Remark
from tests.attacks.test_lone_updates import looks_random, slots_of
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished
from tests.protocol.mallory import Mallory, require_refused, require_unexplained
from tests.protocol.moments import THREE
from tests.simulator import FOUR, Simulator


def test_offer_of_a_puppet_in_a_peers_place_is_not_wrapped_for(mallory: Mallory) -> None:
    """The coordinator puts its own session key in a peer's place, to be given the study key.

    An offer counts only under the signature of the pinned peer.
    """
    offers = dict(mallory.keys[1].offers)
    puppet = offers["elm"].statement.model_copy(update={"session_key": offers["ash"].statement.session_key})
    offers["elm"] = type(offers["elm"]).sign(SigningKey.generate(), puppet)
    reply, _ = mallory.simulator.exchange("ash", Wrap(epoch=1, offers=offers))
    require_refused(reply, "refused", "not by the key")


def test_offer_of_another_epoch_is_not_wrapped_for(mallory: Mallory) -> None:
    """An old offer, whose session key may be known by now, is sent for a new epoch: an offer names its epoch."""
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
    """A site is asked to seal under keys of an epoch that it has no part in: it says that it lacks them."""
    mallory.join("elm", 2)
    mallory.key(2, names=THREE)
    reply = mallory.train("elm", epoch=2)
    assert isinstance(reply, Problem)
    assert reply.code == "epoch-lost"


def test_old_epochs_messages_are_refused_once_a_site_has_moved_on(mallory: Mallory) -> None:
    """Sites are asked to seal under an old key again, which somebody who has left since may hold.

    A site that has a newer epoch's keys seals under no older one: neither a new attempt nor a new round.
    """
    parcel = mallory.key(2)
    assert isinstance(mallory.train("birch", epoch=2, keys=parcel), Sealed)
    for number, attempt in ((1, 2), (2, 1)):
        old = mallory.train("birch", number, attempt, epoch=1, keys=mallory.keys[1])
        require_refused(old, "epoch-lost", "moved to key epoch 2 and seals nothing under epoch 1")
    assert mallory.simulator.trained["birch", 2] == 0


def test_old_epoch_is_not_taken_up_again_after_the_newer_one_has_ended(mallory: Mallory) -> None:
    """An aggregate that does not open ends epoch 2, so that the sites fall back to epoch 1: they do not."""
    mallory.key(2)
    for name in FOUR:
        mallory.train(name, epoch=2)
    committed = mallory.committed(epoch=2)
    size = 2 * 28_672
    require_unexplained(mallory, "ash", mallory.open("ash", committed, bytes(size)), "expected ")
    require_refused(mallory.train("ash", attempt=2, epoch=1, keys=mallory.keys[1]), "epoch-lost", "moved to")


def test_round_of_an_old_epoch_can_still_be_opened(mallory: Mallory) -> None:
    """What the rule above does not stop: a site opens what its cohort committed before the keys changed."""
    committed, aggregate = mallory.honest_round()
    mallory.key(2, earlier=(1,))
    assert mallory.open("ash", committed, aggregate, keys=mallory.keys[2]) == Opened(base=1, evaluated=None)


@pytest.mark.parametrize(("offers", "grant"), [(1, 2), (2, 1)])
def test_grant_with_the_offers_of_another_epoch_is_not_taken(mallory: Mallory, offers: int, grant: int) -> None:
    """An old grant, whose key is known by now, is sent with the offers of a new epoch: they must belong together."""
    mallory.key(2)
    mixed = KeyParcel(offers=mallory.keys[offers].offers, grant=mallory.keys[grant].grant)
    require_refused(mallory.train("birch", epoch=2, keys=mixed), "keys-refused", "is for another study or epoch")
    assert not mallory.simulator.trained


@pytest.mark.parametrize("lead", FOUR)
def test_lead_of_the_coordinators_choice_gives_it_no_lone_update(mallory: Mallory, lead: str) -> None:
    """The coordinator chooses who draws the study key, and so that it is a colluder.

    Harmless beyond that colluder: every site holds the key anyway, and it opens whole sums only.
    """
    mallory.key(2, lead=lead)
    for name in FOUR:
        assert isinstance(mallory.train(name, epoch=2), Sealed)
    seeds = mallory.seeds()
    colluder = mallory.simulator.sites[lead]._participations[mallory.simulator.study]._context.epochs
    slots = slots_of(mallory, [mallory.blobs["ash", 1, 1]], {"ash": seeds["ash"]}, colluder.find_study_key(2))
    assert looks_random(slots)


def test_keys_of_an_ended_epoch_seal_nothing(mallory: Mallory) -> None:
    """The coordinator continues with a key about which it has just learnt a bit: the site has dropped it for good."""
    committed, aggregate = mallory.honest_round()
    mallory.open("ash", committed, bytes(len(aggregate)))
    require_refused(mallory.train("ash", 2), "epoch-lost", "no session key for epoch 1")
    epochs = mallory.simulator.sites["ash"]._participations[mallory.simulator.study]._context.epochs
    with pytest.raises(RefusedError, match="key epoch 1 has ended here"):
        epochs.find_study_key(1)
    assert epochs.make_offer(9, base=0, patients=60).statement.holds == ()


# A lead that is malicious ----------------------------------------------------------------------------------


def evil_grant(mallory: Mallory, names: tuple[str, ...], epoch: int, keys: dict[int, StudyKey]) -> KeyParcel:
    """What ``elm`` grants with its identity and a key ceremony of its own: any study keys."""
    launch, identity = mallory.launch.statement, mallory.simulator.homes["elm"].load_identity()
    evil = Epochs(launch, "elm", identity)
    offers = {name: offer_of(mallory.join(name, epoch)) for name in names if name != "elm"}
    offers["elm"] = evil.make_offer(epoch, 0, 90)
    context = evil._make_context(epoch, compute_offers_digest(offers))
    ring_key, session = os.urandom(32), evil._find_session(epoch)
    ring = to_canonical({"keys": {str(number): encode_wrapped_key(key.to_bytes()) for number, key in keys.items()}})
    wrapped = {
        name: wrap(session.agree(offer.statement.session_key, WRAP_LABEL + context), ring_key, context)
        for name, offer in offers.items()
        if name != "elm"
    }
    grant = KeyGrant(
        study=launch.study,
        launch=launch.digest,
        lead="elm",
        epoch=epoch,
        offers=compute_offers_digest(offers),
        commitment=keys[epoch].commitment,
        wrapped={name: encode_wrapped_key(data) for name, data in wrapped.items()},
        keyring=encode_wrapped_key(wrap(ring_key, ring, context)),
    )
    return KeyParcel(offers=offers, grant=Signed[KeyGrant].sign(identity, grant))


def offer_of(reply: object) -> Signed[KeyOffer]:
    assert isinstance(reply, Joined), reply
    return reply.offer


def test_keys_planted_for_later_epochs_are_refused_with_their_grant(mallory: Mallory) -> None:
    """A lead that is out of the study tomorrow would know the keys of every epoch to come."""
    planted = {2: StudyKey.generate(), **{epoch: StudyKey.generate() for epoch in range(3, 9)}}
    mallory.keys[2] = evil_grant(mallory, FOUR, 2, planted)
    require_refused(
        mallory.train("ash", epoch=2), "keys-refused", "holds a key of epoch 8, which is not its to give"
    )
    parcel = mallory.key(3, THREE, lead="ash")
    assert parcel.grant.statement.commitment != planted[3].commitment
    assert isinstance(mallory.train("birch", epoch=3, cohort=THREE, keys=parcel), Sealed)
    assert mallory.headers["birch", 1, 1].statement.view.key == parcel.grant.statement.commitment


def test_key_planted_for_an_epoch_of_the_past_opens_nothing_and_is_not_passed_on(mallory: Mallory) -> None:
    """A site that was away is given a wrong key of the round it has still to open: it waits for the right one."""
    names = ("ash", "cedar", "elm")
    mallory.key(2, names)
    for name in names:
        mallory.train(name, epoch=2, cohort=names)
    aggregate = mallory.aggregate([mallory.blobs[name, 1, 1] for name in names], mallory.seeds(names=names))
    committed = mallory.committed(epoch=2, cohort=names)
    mallory.keys[3] = evil_grant(mallory, FOUR, 3, {2: StudyKey.generate(), 3: StudyKey.generate()})
    reply = mallory.open("birch", committed, aggregate, keys=mallory.keys[3])
    require_refused(reply, "epoch-lost", "does not hold the study key of epoch 2")
    assert mallory.simulator.entries("birch", "incident") == []
    assert offer_of(mallory.join("birch", 4)).statement.holds == (3,)
    parcel = mallory.key(4, lead="ash", earlier=(2,))
    opened = mallory.open("birch", committed, aggregate, keys=parcel)
    assert isinstance(opened, Opened)
    assert opened.base == 1
    assert 2 in offer_of(mallory.join("birch", 5)).statement.holds


def test_lead_whose_grant_nobody_can_open_leads_last_and_puts_nobody_out(found: Found) -> None:
    """Else a lead could have every honest site put out, one failure after the other."""
    simulator = found(small_terms())
    for name in THREE:
        simulator.conductor.machine.sites[name].failures_as_lead = 1  # so that elm leads first

    def spoil(name: str, reply: Envelope) -> Envelope:
        content = read_body(reply).content
        if name != "elm" or not isinstance(content, Wrappings):
            return reply
        grant = content.grant.statement
        wrapped = {peer: encode_wrapped_key(os.urandom(60)) for peer in grant.wrapped}
        identity = simulator.homes["elm"].load_identity()
        spoiled = Signed[KeyGrant].sign(identity, grant.model_copy(update={"wrapped": wrapped}))
        return simulator.forged("elm", reply, Wrappings(grant=spoiled))

    simulator.transport.replies = spoil
    simulator.run(seconds=5)
    require_finished(simulator, *THREE)
    assert simulator.journal.read_history().out == {}
    notes = [
        note for note in simulator.journal.read_notes() if isinstance(note, Remark) and "do not open" in note.text
    ]
    assert notes[0].site == "elm"
    assert "the keys that it wrapped do not open at ash" in notes[0].text


def test_site_that_refuses_every_leads_keys_is_out_itself(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 3}))
    problem = Problem(code=RefusalCode.KEYS_REFUSED, sentence="a wrapped key does not open", base=0)

    def refuse(name: str, reply: Envelope) -> Envelope:
        asked = simulator.transport.asked[name]
        kind = read_body(asked).content.kind
        return simulator.forged(name, reply, problem) if name == "elm" and kind == "train" else reply

    simulator.transport.replies = refuse
    simulator.run(seconds=5)
    require_finished(simulator, *THREE)
    assert set(simulator.journal.read_history().out) <= {"elm"}


def test_site_that_claims_to_have_opened_and_to_hold_nothing_makes_no_lead_fail(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After many key epochs: the lead is asked to wrap them all, beyond what a message takes, or to give up."""
    monkeypatch.setattr("server.study.key_epochs.MAX_EARLIER", 3)  # 32 would take as many epochs
    epochs = 6
    simulator = found(small_terms(training={"rounds": epochs + 2}, evaluation={"rounds": []}))
    simulator.run(lambda: 1 in committed_rounds(simulator))
    for number in range(2, epochs + 1):  # a key epoch for every round
        simulator.restart_site("birch")
        simulator.run(lambda number=number: number in committed_rounds(simulator), seconds=5)  # type: ignore[misc]

    def claim(name: str, reply: Envelope) -> Envelope:
        content = read_body(reply).content
        if name != "elm" or not isinstance(content, Joined):
            return reply
        statement = content.offer.statement.model_copy(update={"base": 0, "holds": ()})
        offer = Signed[KeyOffer].sign(simulator.homes["elm"].load_identity(), statement)
        return simulator.forged("elm", reply, content.model_copy(update={"offer": offer}))

    simulator.transport.replies = claim
    simulator.restart_site("birch")
    simulator.run(seconds=5)
    require_finished(simulator, *THREE)
    assert set(simulator.journal.read_history().out) <= {"elm"}
    assert all(simulator.conductor.machine.sites[name].failures_as_lead == 0 for name in THREE)


def committed_rounds(simulator: Simulator) -> set[int]:
    return set(simulator.journal.read_history().committed)
