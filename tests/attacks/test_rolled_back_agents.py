"""A site's machine is put back to an earlier moment, to make it release its mask of one round twice.

A disk keeps the seed of the newest sealing. What the coordinator gains by putting a site back, it gains without: a site
that has forgotten a release can always be led to seal and release anew. What holds is that the others release once.
"""

import pytest

from client.study.kept_secrets import KeptSecrets
from privacy.protocol.messages import Problem, Released, Sealed
from tests.attacks.test_lone_updates import looks_random, slots_of
from tests.protocol.invariants import require_one_release_a_round, require_safe
from tests.protocol.mallory import Mallory, require_refused
from tests.protocol.moments import THREE
from tests.simulator import FOUR


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
    """A second attempt under the old keys would join the first one's ciphertexts: they were in memory only.

    The coordinator conspires, and countersigns the old head.
    """
    rolled_back.join("ash", 3)
    reply = rolled_back.train("ash", attempt=2, cohort=THREE, epoch=2, keys=rolled_back.keys[2])
    assert isinstance(reply, Problem)
    assert reply.code == "epoch-lost"


def test_site_that_was_put_back_is_told_so_by_an_honest_witness(rolled_back: Mallory) -> None:
    """It would train the round again: the newest head that the coordinator saw is not in the ledger."""
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


def test_site_put_back_to_before_its_release_has_the_same_seed_to_release_and_no_other(mallory: Mallory) -> None:
    """Asked again for the same headers it says what it said; for others, whoever shows another view, nothing."""
    mallory.seal()
    copy = mallory.simulator.snapshot("ash")
    first = mallory.release("ash")
    mallory.simulator.put_back("ash", copy)
    other = mallory.headers_of() | {"elm": mallory.headers["birch", 1, 1]}
    require_refused(mallory.release("ash", headers=other), "release-refused", "not by the key")
    assert mallory.release("ash") == first
    require_safe(mallory.simulator)


def test_site_put_back_to_before_its_release_still_seals_no_second_attempt_that_becomes_whole(
    mallory: Mallory,
) -> None:
    """It seals attempt 2 with a fresh mask: nobody else does, so that its second release never comes."""
    mallory.seal()
    copy = mallory.simulator.snapshot("ash")
    mallory.seeds()
    mallory.simulator.put_back("ash", copy)
    mallory.key(2)
    assert isinstance(mallory.train("ash", attempt=2, cohort=THREE, epoch=2), Sealed)
    for name in ("birch", "cedar"):
        require_refused(mallory.train(name, attempt=2, cohort=THREE, epoch=2), "released", "in attempt 1")
    forged = {name: mallory.headers[name, 1, 1] for name in ("birch", "cedar")} | mallory.headers_of(attempt=2)
    require_refused(mallory.release("ash", attempt=2, headers=forged), "release-refused", "another view")


def test_seed_of_an_overtaken_attempt_on_an_older_disk_opens_nothing(mallory: Mallory) -> None:
    """All sealed attempt 1; elm was dropped, and attempt 2 released. Ash is put back, and releases attempt 1 as well.

    One site's seed of attempt 1 is of no use: the others' are gone, and the sum stays under them.
    """
    mallory.seal()
    copy = mallory.simulator.snapshot("ash")
    mallory.key(2)
    for name in THREE:
        assert isinstance(mallory.train(name, attempt=2, cohort=THREE, epoch=2), Sealed)
    mallory.seeds(attempt=2, names=THREE)
    mallory.simulator.put_back("ash", copy)
    released = mallory.release("ash", attempt=1)
    assert isinstance(released, Released)
    for name in ("birch", "cedar"):
        require_refused(mallory.release(name, attempt=1), "epoch-lost", "no mask for attempt 1")
        mallory.simulator.restart_site(name)
        require_refused(mallory.release(name, attempt=1), "epoch-lost", "no mask for attempt 1")
    seeds = {"ash": bytes.fromhex(released.seed)}
    assert looks_random(slots_of(mallory, [mallory.blobs[name, 1, 1] for name in FOUR], seeds))


def test_seed_and_study_key_from_a_sites_disk_open_no_lone_update(mallory: Mallory) -> None:
    """Somebody has a backup of ash's study and its identity key, and everything that was sent.

    The pair masks stay: their secrets were never written down.
    """
    mallory.seal()
    store = mallory.simulator.store("ash")
    kept = KeptSecrets(store.folder, store.launch, mallory.simulator.homes["ash"].load_identity())
    attempt, keys = kept.load_attempt(), kept.load_keys()
    assert attempt is not None
    assert set(keys) == {1}
    seeds = {"ash": bytes.fromhex(attempt.own_seed)}
    assert looks_random(slots_of(mallory, [mallory.blobs["ash", 1, 1]], seeds, keys[1]))
