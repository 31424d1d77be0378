"""A site's machine is put back to an earlier moment, to make it release its mask of one round twice."""

import pytest

from privacy.wire import Problem, Released, Sealed
from tests.protocol.invariants import require_one_release_a_round
from tests.protocol.mallory import Mallory, require_refused
from tests.protocol.moments import THREE


@pytest.fixture
def rolled_back(mallory: Mallory) -> Mallory:
    """Ash has forgotten that it sealed round 1 and released its mask; the others have not."""
    copy = mallory.simulator.snapshot("ash")
    mallory.key(2)
    for name in mallory.names:
        assert isinstance(mallory.train(name, epoch=2), Sealed)
    mallory.seeds()
    mallory.simulator.put_back("ash", copy)
    return mallory


def test_site_that_was_put_back_has_no_mask_to_release_again(rolled_back: Mallory) -> None:
    """The attempt that was released is asked for once more, with other headers: seeds were in memory only."""
    assert isinstance(rolled_back.join("ash", 2), object)
    require_refused(rolled_back.release("ash"), "epoch-lost", "no mask for attempt 1 of round 1")


def test_site_that_was_put_back_cannot_seal_under_the_keys_it_had(rolled_back: Mallory) -> None:
    """A second attempt under the old keys would join the first one's ciphertexts: they were in memory only."""
    reply = rolled_back.train("ash", attempt=2, cohort=THREE, epoch=2, keys=rolled_back.keys[2])
    assert isinstance(reply, Problem)
    assert reply.code == "epoch-lost"


def test_site_that_was_put_back_is_told_so_by_an_honest_witness(rolled_back: Mallory) -> None:
    """It would train the round again: the newest head that the coordinator saw is not in the book."""
    seen = rolled_back.witnessed["ash"]
    rolled_back.key(3)
    reply = rolled_back.train("ash", attempt=2, cohort=THREE, epoch=3, witnessed=seen)
    require_refused(reply, "refused", "it was rolled back or replaced")
    assert rolled_back.simulator.trained["ash", 1] == 1


def test_second_attempt_with_a_conspiring_witness_opens_nothing(rolled_back: Mallory) -> None:
    """The coordinator countersigns the old head, and ash seals another attempt of the round it released.

    The others have released theirs and seal no other, so no cohort of that attempt is ever whole.
    """
    rolled_back.key(3)
    reply = rolled_back.train("ash", attempt=2, cohort=THREE, epoch=3)
    assert isinstance(reply, Sealed)
    for name in ("birch", "cedar"):
        refused = rolled_back.train(name, attempt=2, cohort=THREE, epoch=3)
        require_refused(refused, "released", "released its mask of this round in attempt 1")
    headers = {**rolled_back.headers_of(attempt=1), **rolled_back.headers_of(attempt=2)}
    some = {name: headers[name] for name in THREE}
    require_refused(rolled_back.release("ash", attempt=2, headers=some), "release-refused", "another view")
    released = [name for name, reply in rolled_back.simulator.transport.said if isinstance(reply, Released)]
    assert released.count("ash") <= 1
    require_one_release_a_round(rolled_back.simulator)
