"""What a malicious coordinator, or a malicious lead, tries with the keys of an epoch."""

import pytest

from privacy.errors import RefusedError
from privacy.keys import SigningKey
from privacy.wire import (
    KeyParcel,
    Opened,
    Problem,
    Sealed,
    Wrap,
)
from tests.attacks.test_lone_updates import looks_random, slots_of
from tests.protocol.mallory import Mallory, require_refused, require_unexplained
from tests.protocol.moments import THREE
from tests.simulator import FOUR


def test_offer_of_a_puppet_in_a_peers_place_is_not_wrapped_for(mallory: Mallory) -> None:
    """The coordinator puts its own session key in a peer's place, to be given the study key.

    An offer counts only under the signature of the pinned peer.
    """
    offers = dict(mallory.keys[1].offers)
    puppet = offers["elm"].statement.model_copy(update={"session_key": offers["ash"].statement.session_key})
    offers["elm"] = type(offers["elm"]).by(SigningKey.generate(), puppet)
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


def test_old_epochs_messages_are_refused_once_a_site_has_gone_on(mallory: Mallory) -> None:
    """Sites are asked to seal under an old key again, which somebody who has left since may hold.

    A site that has a newer epoch's keys seals under no older one: neither a new attempt nor a new round.
    """
    parcel = mallory.key(2)
    assert isinstance(mallory.train("birch", epoch=2, keys=parcel), Sealed)
    for number, attempt in ((1, 2), (2, 1)):
        old = mallory.train("birch", number, attempt, epoch=1, keys=mallory.keys[1])
        require_refused(old, "epoch-lost", "gone on to key epoch 2 and seals nothing under epoch 1")
    assert mallory.simulator.trained["birch", 2] == 0


def test_old_epoch_is_not_taken_up_again_after_the_newer_one_has_ended(mallory: Mallory) -> None:
    """An aggregate that does not open ends epoch 2, so that the sites fall back to epoch 1: they do not."""
    mallory.key(2)
    for name in FOUR:
        mallory.train(name, epoch=2)
    committed = mallory.committed(epoch=2)
    size = 2 * 28_672
    require_unexplained(mallory, "ash", mallory.open("ash", committed, bytes(size)), "expected ")
    require_refused(mallory.train("ash", attempt=2, epoch=1, keys=mallory.keys[1]), "epoch-lost", "gone on to")


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
    colluder = mallory.simulator.sites[lead]._participations[mallory.simulator.study]._seat.epochs
    slots = slots_of(mallory, [mallory.blobs["ash", 1, 1]], {"ash": seeds["ash"]}, colluder.study_key(2))
    assert looks_random(slots)


def test_keys_of_an_ended_epoch_seal_nothing(mallory: Mallory) -> None:
    """The coordinator goes on with a key about which it has just learnt a bit: the site has dropped it for good."""
    committed, aggregate = mallory.honest_round()
    mallory.open("ash", committed, bytes(len(aggregate)))
    require_refused(mallory.train("ash", 2), "epoch-lost", "no session key for epoch 1")
    epochs = mallory.simulator.sites["ash"]._participations[mallory.simulator.study]._seat.epochs
    with pytest.raises(RefusedError, match="key epoch 1 has ended here"):
        epochs.study_key(1)
    assert epochs.offer(9, base=0, patients=60).statement.holds == ()
