"""Every change to an aggregate that a coordinator can make without the key is refused, by name.

A coordinator adds to first polynomials, multiplies them, and gives other seeds. Second polynomials it cannot write.
"""

from collections.abc import Callable

import numpy as np
import pytest

from privacy.errors import SealingError
from privacy.secure_aggregation.aggregate import Aggregate
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.schemes.bfv import scale_plaintext
from privacy.secure_aggregation.schemes.bfv_parameters import (
    COEFFICIENT_MODULUS,
    POLYNOMIAL_BYTES,
    SEALED_BYTES,
    SEED_BYTES,
    SLOTS,
)
from privacy.secure_aggregation.schemes.coefficients import Polynomial, pack_polynomial, unpack_polynomial
from tests.privacy.secure_aggregation.conftest import CONTEXT, Federation

_Q = np.uint64(COEFFICIENT_MODULUS)


def change_first(aggregate: bytes, change: Callable[[Polynomial], Polynomial]) -> bytes:
    """Change the first polynomial of an aggregate of one ciphertext."""
    first = change(unpack_polynomial(aggregate[:POLYNOMIAL_BYTES], "aggregate")) % _Q
    return pack_polynomial(first) + aggregate[POLYNOMIAL_BYTES:]


def add_slots(aggregate: bytes, sign: int, places: dict[int, int]) -> bytes:
    """Add a plaintext, or subtract it, without the key."""
    slots = np.zeros(SLOTS, dtype=np.uint64)
    for place, value in places.items():
        slots[place] = value
    scaled = scale_plaintext(slots)
    return change_first(aggregate, lambda first: first + (scaled if sign > 0 else _Q - scaled))


@pytest.mark.parametrize("change", ["another seed", "one seed twice", "seeds of two sites exchanged"])
def test_wrong_seed_in_an_aggregate_is_refused(federation: Federation, change: str) -> None:
    """The seeds name the second polynomial; a sum of other expansions opens to nothing that the checks accept."""
    honest = federation.honest()
    first = honest[:POLYNOMIAL_BYTES]
    seeds = np.frombuffer(honest[POLYNOMIAL_BYTES:], np.uint8).reshape(4, SEED_BYTES)
    order = {
        "another seed": [0, 1, 2, 2],
        "one seed twice": [0, 0, 2, 3],
        "seeds of two sites exchanged": [1, 0, 2, 3],
    }
    given = seeds[order[change]].copy()
    if change == "another seed":
        given[3] = 7
    tampered = first + given.tobytes()
    if change == "seeds of two sites exchanged":
        assert np.array_equal(federation.open(tampered).values, federation.open(honest).values)
        return
    with pytest.raises(SealingError, match="count field is no count"):
        federation.open(tampered)


def test_wrong_seed_of_a_later_ciphertext_is_refused_by_the_checks(federation: Federation) -> None:
    """The count field is in the first ciphertext, so that here the check fields are all that stands between."""
    federation = Federation(Layout(9000, 0, 16, 8), federation.sites, federation.study_key)
    honest = bytearray(federation.honest())
    assert federation.layout.parts == 2
    honest[-1] ^= 1  # the last byte of the last seed
    with pytest.raises(SealingError, match="check fields do not hold"):
        federation.open(bytes(honest))


@pytest.mark.parametrize(
    "change", [lambda b: b[:-32], lambda b: b + bytes(32), lambda b: b[:-1], lambda b: b"", lambda b: b * 2]
)
def test_aggregate_with_another_number_of_seeds_is_refused(
    federation: Federation, change: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(SealingError, match=f"expected {POLYNOMIAL_BYTES + 4 * SEED_BYTES} bytes, got"):
        federation.open(change(federation.honest()))


@pytest.mark.parametrize(
    ("sign", "places"),
    [
        pytest.param(1, {500: 1}, id="to one value"),
        pytest.param(1, {500: 1, SLOTS - 3: 12345, SLOTS - 2: 12345, SLOTS - 1: 12345}, id="to check fields too"),
        pytest.param(-1, {1: 1}, id="from a total"),
    ],
)
def test_constant_is_refused_by_the_checks(federation: Federation, sign: int, places: dict[int, int]) -> None:
    with pytest.raises(SealingError, match="check fields do not hold"):
        federation.open(add_slots(federation.honest(), sign, places))


def test_constant_added_to_the_count_is_refused_by_the_count(federation: Federation) -> None:
    with pytest.raises(SealingError, match="count field says 8, expected the cohort's 4"):
        federation.open(add_slots(federation.honest(), 1, {0: 4}))


@pytest.mark.parametrize(
    "change",
    [lambda first: 2 * first, lambda first: np.roll(first, 1), np.zeros_like],
    ids=["doubled", "rotated", "nothing"],
)
def test_first_polynomial_that_does_not_fit_its_seeds_is_refused(
    federation: Federation, change: Callable[[Polynomial], Polynomial]
) -> None:
    with pytest.raises(SealingError, match="count field is no count"):
        federation.open(change_first(federation.honest(), change))


def test_site_added_twice_is_refused(federation: Federation) -> None:
    aggregate = Aggregate(federation.layout)
    for site in [*federation.sites, "north"]:
        aggregate.add(federation.seal(site))
    aggregate.subtract_masks({**federation.seeds, "again": bytes(32)}, CONTEXT)
    with pytest.raises(SealingError, match=f"expected {POLYNOMIAL_BYTES + 4 * SEED_BYTES} bytes, got"):
        federation.open(aggregate.to_bytes())


def test_site_added_in_place_of_another_is_refused(federation: Federation) -> None:
    sealed = [federation.seal(site) for site in ["north", "east", "south", "south"]]
    with pytest.raises(SealingError, match="masks do not cancel"):
        federation.open(federation.aggregate(sealed))


def test_site_left_out_is_refused(federation: Federation) -> None:
    rest = ["north", "east", "south"]
    aggregate = federation.aggregate([federation.seal(site) for site in rest], released=rest)
    with pytest.raises(SealingError, match=f"expected {POLYNOMIAL_BYTES + 4 * SEED_BYTES} bytes, got"):
        federation.open(aggregate)
    with pytest.raises(SealingError, match="masks do not cancel"):
        federation.open(aggregate, cohort=rest)


def test_other_round_of_one_site_is_refused(federation: Federation) -> None:
    sealed = [federation.seal(site) for site in ["north", "east", "south"]]
    sealed.append(federation.seal("west", context=CONTEXT.replace(b"round 3", b"round 2")))
    with pytest.raises(SealingError, match="masks do not cancel"):
        federation.open(federation.aggregate(sealed))


def test_other_rounds_aggregate_is_refused(federation: Federation) -> None:
    with pytest.raises(SealingError, match="check fields do not hold"):
        federation.open(federation.honest(), context=CONTEXT.replace(b"round 3", b"round 4"))


def test_other_cohorts_view_of_one_site_is_refused(federation: Federation) -> None:
    sealed = [federation.seal(site) for site in ["north", "east", "south"]]
    sealed.append(federation.seal("west", cohort=["north", "east", "west"]))
    with pytest.raises(SealingError, match="masks do not cancel"):
        federation.open(federation.aggregate(sealed))


def test_aggregate_under_another_cohort_of_the_same_size_is_refused(federation: Federation) -> None:
    with pytest.raises(SealingError, match="check fields do not hold"):
        federation.open(federation.honest(), cohort=["north", "east", "south", "elsewhere"])


def test_aggregate_under_a_smaller_cohort_is_refused(federation: Federation) -> None:
    with pytest.raises(SealingError, match=f"expected {POLYNOMIAL_BYTES + 3 * SEED_BYTES} bytes, got"):
        federation.open(federation.honest(), cohort=["north", "east", "south"])


@pytest.mark.parametrize("position", [1, 5, 10_003, 27_647, 27_648, 27_700, 27_775])
def test_flipped_bit_of_an_aggregate_is_refused(federation: Federation, position: int) -> None:
    aggregate = bytearray(federation.honest())
    aggregate[position] ^= 0x20
    with pytest.raises(SealingError):
        federation.open(bytes(aggregate))


def test_flipped_bit_below_the_noise_changes_nothing(federation: Federation) -> None:
    """An aggregate's bytes are not authentic, what it opens to is: a change of 32 is below q/2t = 1024."""
    aggregate = bytearray(federation.honest())
    aggregate[0] ^= 0x20
    assert np.array_equal(
        federation.open(bytes(aggregate)).values,
        sum(federation.update(site).astype(np.int64) for site in federation.sites),
    )


@pytest.mark.parametrize("position", [1, 10_003, 27_647, 27_648, SEALED_BYTES - 1])
def test_flipped_bit_of_a_sealed_update_never_opens(federation: Federation, position: int) -> None:
    sealed = [bytearray(federation.seal(site)) for site in federation.sites]
    sealed[2][position] ^= 0x20
    with pytest.raises(SealingError):
        federation.open(federation.aggregate([bytes(blob) for blob in sealed]))


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"", lambda b: b * 2])
def test_sealed_update_of_another_length_is_refused(
    federation: Federation, change: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(SealingError, match="expected 27680 bytes, got"):
        Aggregate(federation.layout).add(change(federation.seal("north")))


def test_sealed_update_that_is_refused_leaves_the_aggregate_as_it_was(federation: Federation) -> None:
    two = Federation(Layout(9000, 0, 16, 8), federation.sites, federation.study_key)
    assert two.layout.parts == 2
    aggregate = Aggregate(two.layout)
    for site in two.sites:
        bad = bytearray(two.seal(site))
        bad[SEALED_BYTES : SEALED_BYTES + POLYNOMIAL_BYTES] = b"\xff" * POLYNOMIAL_BYTES  # the second one only
        with pytest.raises(SealingError, match="not below the modulus"):
            aggregate.add(bytes(bad))
        aggregate.add(two.seal(site))
    aggregate.subtract_masks(two.seeds, CONTEXT)
    assert np.array_equal(
        two.open(aggregate.to_bytes()).values, sum(two.update(site).astype(np.int64) for site in two.sites)
    )


def test_ciphertext_under_a_larger_modulus_is_refused(federation: Federation) -> None:
    data = pack_polynomial(np.full(SLOTS, COEFFICIENT_MODULUS, dtype=np.uint64)) + bytes(SEED_BYTES)
    with pytest.raises(SealingError, match="not below the modulus"):
        Aggregate(federation.layout).add(data)


def test_random_bytes_are_refused(federation: Federation) -> None:
    data = np.random.default_rng(1).bytes(federation.layout.compute_aggregate_bytes(4))
    with pytest.raises(SealingError, match="count field is no count"):
        federation.open(data)


def test_more_sites_than_the_layout_carries_are_refused(federation: Federation) -> None:
    aggregate, sealed = Aggregate(federation.layout), federation.seal("north")
    for _ in range(8):
        aggregate.add(sealed)
    with pytest.raises(SealingError, match="at most 8 sites"):
        aggregate.add(sealed)


def test_empty_aggregate_is_refused(federation: Federation) -> None:
    with pytest.raises(SealingError, match="nothing has been added"):
        Aggregate(federation.layout).to_bytes()


def test_released_seed_of_another_length_is_refused(federation: Federation) -> None:
    aggregate = Aggregate(federation.layout)
    aggregate.add(federation.seal("north"))
    with pytest.raises(SealingError, match="mask seed of north is refused: expected 32 bytes, got 31"):
        aggregate.subtract_masks({"north": bytes(31)}, CONTEXT)
