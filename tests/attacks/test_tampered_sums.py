"""What a malicious coordinator tries with the sum: each site refuses it, and the model stays where it was."""

from collections.abc import Callable

import numpy as np
import pytest

from privacy.protocol.messages import Open, Opened, Sealed
from privacy.secure_aggregation.schemes.bfv import scale_plaintext
from privacy.secure_aggregation.schemes.bfv_parameters import (
    COEFFICIENT_MODULUS,
    POLYNOMIAL_BYTES,
    SEED_BYTES,
    SLOTS,
)
from privacy.secure_aggregation.schemes.coefficients import Polynomial, pack_polynomial, unpack_polynomial
from tests.protocol.invariants import require_safe
from tests.protocol.mallory import Mallory, require_refused, require_unexplained
from tests.protocol.moments import THREE
from tests.simulator import FOUR


def with_first_polynomial(aggregate: bytes, change: Callable[[Polynomial], Polynomial]) -> bytes:
    """An aggregate of one ciphertext whose first polynomial the coordinator changed; its seeds are as they were."""
    first = change(unpack_polynomial(aggregate[:POLYNOMIAL_BYTES], "aggregate")) % COEFFICIENT_MODULUS
    return pack_polynomial(first) + aggregate[POLYNOMIAL_BYTES:]


def require_not_applied(mallory: Mallory, name: str, base: int = 0) -> None:
    """The model is where it was, and the ledger says what was refused."""
    assert mallory.simulator.state(name).base == base
    last = mallory.simulator.entries(name)[-1]
    assert (last.kind, getattr(last.body, "code", None)) == ("incident", "opening-failed")
    require_safe(mallory.simulator)


def test_honest_round_opens(mallory: Mallory) -> None:
    """The attacks below differ from this in one thing each."""
    committed, aggregate = mallory.honest_round()
    assert mallory.open("ash", committed, aggregate) == Opened(base=1, evaluated=None)


def test_one_site_added_twice_does_not_open(mallory: Mallory) -> None:
    """The coordinator adds one update twice, so that it weighs more, or to take the plain sum off.

    It has no room for the seed of the fifth update, and the second polynomial lacks it. With room for it, masks would
    not cancel: :func:`tests.privacy.secure_aggregation.test_tampering.test_site_added_twice_is_refused`.
    """
    mallory.seal()
    honest = mallory.aggregate([mallory.blobs[name, 1, 1] for name in FOUR], mallory.seeds())
    again = unpack_polynomial(mallory.blobs["ash", 1, 1][:POLYNOMIAL_BYTES], "update")
    aggregate = with_first_polynomial(honest, lambda first: first + again)
    require_unexplained(
        mallory, "birch", mallory.open("birch", mallory.committed(), aggregate), "masks do not cancel"
    )
    require_not_applied(mallory, "birch")


def test_one_site_left_out_does_not_open(mallory: Mallory) -> None:
    """The coordinator leaves one update out of the sum that it says is everybody's: masks do not cancel."""
    mallory.seal()
    seeds = mallory.seeds()
    blobs = [mallory.blobs[name, 1, 1] for name in THREE]
    aggregate = mallory.aggregate(blobs, {name: seeds[name] for name in THREE})
    lacking = mallory.open("birch", mallory.committed(), aggregate)  # three seeds, where four sites have four
    require_unexplained(mallory, "birch", lacking, f"expected {len(aggregate) + SEED_BYTES} bytes")
    require_not_applied(mallory, "birch")


@pytest.mark.parametrize("fourth", ["the missing site's", "one of the three again", "one of its own"])
def test_one_site_left_out_with_a_fourth_seed_does_not_open(mallory: Mallory, fourth: str) -> None:
    """The same, with as many seeds as there should be: masks do not cancel, and the second polynomial is another."""
    mallory.seal()
    seeds = mallory.seeds()
    aggregate = mallory.aggregate(
        [mallory.blobs[name, 1, 1] for name in THREE], {name: seeds[name] for name in THREE}
    )
    (left_out,) = set(FOUR) - set(THREE)
    seed = {
        "the missing site's": mallory.blobs[left_out, 1, 1][POLYNOMIAL_BYTES:],
        "one of the three again": aggregate[-SEED_BYTES:],
        "one of its own": bytes(SEED_BYTES),
    }[fourth]
    opened = mallory.open("birch", mallory.committed(), aggregate + seed)
    require_unexplained(mallory, "birch", opened, "masks do not cancel")
    require_not_applied(mallory, "birch")


def test_constant_added_to_the_aggregate_is_not_applied(mallory: Mallory) -> None:
    """Dead neurons for everybody but one: then the next sum would be that one's update."""
    committed, aggregate = mallory.honest_round()
    slots = np.zeros(SLOTS, dtype=np.uint64)
    slots[2] = 1000
    tampered = with_first_polynomial(aggregate, lambda first: first + scale_plaintext(slots))
    require_unexplained(mallory, "ash", mallory.open("ash", committed, tampered), "check fields do not hold")
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
    """An old aggregate is passed off as the new round's: keystreams of masks and checks belong to one round."""
    committed, first = mallory.honest_round()
    for name in FOUR:
        mallory.open(name, committed, first)
    second, _ = mallory.honest_round(2, base=1)
    require_unexplained(mallory, "ash", mallory.open("ash", second, first), "is refused")
    require_not_applied(mallory, "ash", base=1)


def test_round_that_is_applied_already_has_no_effect(mallory: Mallory) -> None:
    """An aggregate is sent a second time, so that the model moves twice: each round is applied once."""
    committed, aggregate = mallory.honest_round()
    mallory.open("ash", committed, aggregate)
    before = mallory.simulator.model_file("ash")
    assert mallory.open("ash", committed, aggregate) == Opened(base=1, evaluated=None)
    assert mallory.simulator.model_file("ash") == before


def test_aggregate_under_other_headers_does_not_open(mallory: Mallory) -> None:
    """A sum of four is passed off as that of three, so that its mean is wrong.

    Headers and sum must be of one cohort.
    """
    committed, aggregate = mallory.honest_round()
    fewer = committed.model_copy(update={"cohort": THREE, "headers": {n: committed.headers[n] for n in THREE}})
    require_refused(mallory.open("ash", fewer, aggregate), "opening-failed", "another cohort")
    require_not_applied(mallory, "ash")


def test_round_two_before_round_one_is_refused(mallory: Mallory) -> None:
    """A site is led past a round, onto a model that nobody else has: rounds are applied in order."""
    committed, aggregate = mallory.honest_round()
    for name in THREE:
        mallory.open(name, committed, aggregate)
    mallory.seal(2, cohort=THREE, base=1)
    blobs = [mallory.blobs[name, 2, 1] for name in THREE]
    sum_ = mallory.aggregate(blobs, mallory.seeds(2, names=THREE), 2, base=1)
    reply = mallory.open("elm", mallory.committed(2, cohort=THREE), sum_)
    require_refused(reply, "behind", "builds on round 1, which is not applied here")
    assert mallory.simulator.state("elm").base == 0


def test_many_tampered_aggregates_tell_one_bit_for_each_site_and_epoch(mallory: Mallory) -> None:
    """A decryption oracle: perturb the ciphertext again and again, and see which still opens, to learn the key.

    The first refusal ends the epoch at that site; what comes after is refused unread and unwritten.
    """
    committed, aggregate = mallory.honest_round()
    for number in range(6):
        changed = bytearray(aggregate)
        changed[7 * number + 5] ^= 0x20
        for name in ("ash", "birch"):
            mallory.open(name, committed, bytes(changed))
    for name in ("ash", "birch"):
        assert len(mallory.simulator.entries(name, "incident")) == 1
        assert mallory.simulator.state(name).base == 0
    require_safe(mallory.simulator)


def test_restart_does_not_bring_back_the_key_of_an_epoch_that_has_ended(mallory: Mallory) -> None:
    """A second bit about the key from a site that was restarted: by the key on its disk, or a peer that still holds it.

    What has ended is on disk before the refusal leaves; the key is gone from there, and is not taken up again.
    """
    committed, aggregate = mallory.honest_round()
    changed = bytearray(aggregate)
    changed[5] ^= 0x20
    require_refused(mallory.open("ash", committed, bytes(changed)), "opening-failed", "does not hold")
    mallory.simulator.restart_site("ash")
    reply, _ = mallory.simulator.exchange("ash", Open(keys=None, committed=committed), aggregate)
    require_refused(reply, "opening-failed", "key epoch 1 has ended here")
    keys = mallory.key(2, lead="birch", earlier=(1,))
    offer = keys.offers["ash"].statement
    assert 1 not in offer.holds
    require_refused(mallory.open("ash", committed, aggregate, keys), "opening-failed", "key epoch 1 has ended here")
    assert len(mallory.simulator.entries("ash", "incident")) == 1
    require_not_applied(mallory, "ash")


def test_aggregate_that_the_coordinator_made_up_does_not_open(mallory: Mallory) -> None:
    """An encryption of the coordinator's own model: it has no study key, and no check field without one."""
    committed, aggregate = mallory.honest_round()
    made_up = np.random.default_rng(3).bytes(len(aggregate))
    require_unexplained(mallory, "ash", mallory.open("ash", committed, made_up), "its count field is no count")
    require_not_applied(mallory, "ash")


def test_site_that_missed_a_round_opens_what_its_cohort_committed_and_nothing_else(mallory: Mallory) -> None:
    """A site that was cut off is shut out for good, or led onto a model of the coordinator's making when it is back.

    It opens the sum of a cohort without it, if that comes with the cohort's headers and passes the checks; altered, it
    does not; and it seals only in a cohort with itself.
    """
    mallory.seal(cohort=THREE)
    blobs = [mallory.blobs[name, 1, 1] for name in THREE]
    aggregate = mallory.aggregate(blobs, mallory.seeds(names=THREE))
    committed = mallory.committed(cohort=THREE)
    two = committed.model_copy(
        update={"cohort": THREE[:2], "headers": {n: committed.headers[n] for n in THREE[:2]}}
    )
    require_refused(mallory.open("elm", two, aggregate), "opening-failed", "expected the headers of 2 sites")
    assert mallory.open("elm", committed, aggregate) == Opened(base=1, evaluated=None)
    for name in THREE:
        mallory.open(name, committed, aggregate)
    assert len({mallory.simulator.model_file(name) for name in FOUR}) == 1
    require_refused(mallory.train("elm", 2, base=1, cohort=THREE), "refused", "names this site")
    assert isinstance(mallory.train("elm", 2, base=1), Sealed)
    require_safe(mallory.simulator)
