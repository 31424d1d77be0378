"""What a malicious coordinator tries with the keys of an epoch."""

import pytest

from privacy.keys import SigningKey
from privacy.wire import (
    Problem,
    Wrap,
)
from tests.protocol.mallory import Mallory, require_refused
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
