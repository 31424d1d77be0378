"""Every change to an aggregate that a coordinator can make without the key is refused, by name.

Ciphertexts are rewritten here as a coordinator would, with SEAL's evaluator or byte by byte.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.secure_aggregation.aggregate import Aggregate
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.schemes import bfv
from privacy.secure_aggregation.schemes.bfv_parameters import (
    COEFFICIENT_MODULUS,
    PLAIN_MODULUS,
    POLYNOMIAL_BYTES,
    SEALED_BYTES,
    SEED_BYTES,
    SLOTS,
)
from privacy.secure_aggregation.schemes.coefficients import pack_polynomial
from privacy.secure_aggregation.schemes.sum_form import SumForm
from tests.privacy.secure_aggregation.conftest import CONTEXT, Federation


def with_evaluator(aggregate: bytes, change: Callable[[Any, Any, Any], None], slots: NDArray[np.uint64]) -> bytes:
    """Apply ``change(evaluator, ciphertext, plaintext of slots)`` to an aggregate of one ciphertext."""
    ciphertext = bfv._load_sum(aggregate, SumForm.POLYNOMIAL)
    change(bfv._make_ring().evaluator, ciphertext, bfv._make_plaintext(slots))
    return b"".join(pack_polynomial(each) for each in bfv._read_polynomials(ciphertext))


@pytest.fixture
def federation(federation: Federation) -> Federation:
    """The form of an aggregate in which a coordinator can change most: both polynomials at will."""
    return Federation(
        replace(federation.layout, sum_form=SumForm.POLYNOMIAL), federation.sites, federation.study_key
    )


def with_seeds(federation: Federation) -> Federation:
    layout = replace(federation.layout, sum_form=SumForm.SEEDS)
    return Federation(layout, federation.sites, federation.study_key)


@pytest.mark.parametrize("change", ["another seed", "one seed twice", "seeds of two sites exchanged"])
def test_wrong_seed_in_an_aggregate_is_refused(federation: Federation, change: str) -> None:
    """The seeds name the second polynomial; a sum of other expansions opens to nothing that the checks accept."""
    federation = with_seeds(federation)
    honest = federation.honest()
    first, seeds = honest[:POLYNOMIAL_BYTES], np.frombuffer(honest[POLYNOMIAL_BYTES:], np.uint8).reshape(4, 64)
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


@pytest.mark.parametrize("change", [lambda b: b[:-64], lambda b: b + bytes(64), lambda b: b[:-1]])
def test_aggregate_with_another_number_of_seeds_is_refused(
    federation: Federation, change: Callable[[bytes], bytes]
) -> None:
    federation = with_seeds(federation)
    with pytest.raises(SealingError, match=f"expected {POLYNOMIAL_BYTES + 4 * SEED_BYTES} bytes, got"):
        federation.open(change(federation.honest()))


def test_constant_added_to_one_value_is_refused(federation: Federation) -> None:
    slots = np.zeros(SLOTS, dtype=np.uint64)
    slots[500] = 1
    tampered = with_evaluator(federation.honest(), lambda e, c, p: e.add_plain_inplace(c, p), slots)
    with pytest.raises(SealingError, match="check fields do not hold"):
        federation.open(tampered)


def test_constant_added_to_check_fields_too_is_refused(federation: Federation) -> None:
    slots = np.zeros(SLOTS, dtype=np.uint64)
    slots[500], slots[-3:] = 1, 12345
    tampered = with_evaluator(federation.honest(), lambda e, c, p: e.add_plain_inplace(c, p), slots)
    with pytest.raises(SealingError, match="check fields do not hold"):
        federation.open(tampered)


def test_constant_subtracted_from_a_total_is_refused(federation: Federation) -> None:
    slots = np.zeros(SLOTS, dtype=np.uint64)
    slots[1] = 1
    tampered = with_evaluator(federation.honest(), lambda e, c, p: e.sub_plain_inplace(c, p), slots)
    with pytest.raises(SealingError, match="check fields do not hold"):
        federation.open(tampered)


def test_scalar_multiple_is_refused_by_the_count(federation: Federation) -> None:
    slots = np.zeros(SLOTS, dtype=np.uint64)
    slots[0] = 2
    tampered = with_evaluator(federation.honest(), lambda e, c, p: e.multiply_plain_inplace(c, p), slots)
    with pytest.raises(SealingError, match="count field says 8, expected the cohort's 4"):
        federation.open(tampered)


def test_scalar_multiple_with_the_count_put_right_is_refused(federation: Federation) -> None:
    double, count = np.zeros(SLOTS, dtype=np.uint64), np.zeros(SLOTS, dtype=np.uint64)
    double[0], count[0] = 2, 4
    tampered = with_evaluator(federation.honest(), lambda e, c, p: e.multiply_plain_inplace(c, p), double)
    tampered = with_evaluator(tampered, lambda e, c, p: e.sub_plain_inplace(c, p), count)
    with pytest.raises(SealingError, match="check fields do not hold"):
        federation.open(tampered)


def test_rotated_slots_are_refused(federation: Federation) -> None:
    slots = np.zeros(SLOTS, dtype=np.uint64)
    slots[1] = 1  # multiplies by X
    tampered = with_evaluator(federation.honest(), lambda e, c, p: e.multiply_plain_inplace(c, p), slots)
    with pytest.raises(SealingError, match="count field"):
        federation.open(tampered)


def test_site_added_twice_is_refused(federation: Federation) -> None:
    aggregate = Aggregate(federation.layout)
    for site in [*federation.sites, "north"]:
        aggregate.add(federation.seal(site))
    aggregate.subtract_masks({**federation.seeds, "again": bytes(32)}, CONTEXT)
    with pytest.raises(SealingError, match="masks do not cancel"):
        federation.open(aggregate.to_bytes())


def test_site_left_out_is_refused(federation: Federation) -> None:
    rest = ["north", "east", "south"]
    aggregate = federation.aggregate([federation.seal(site) for site in rest], released=rest)
    with pytest.raises(SealingError, match="masks do not cancel"):
        federation.open(aggregate)


def test_whole_cohort_added_twice_is_refused_by_the_count(federation: Federation) -> None:
    """Masks cancel here, as in a colluding cohort: only count and checks stand between."""
    honest = federation.honest()
    slots = np.zeros(SLOTS, dtype=np.uint64)
    tampered = with_evaluator(honest, lambda e, c, p: e.add_inplace(c, c), slots)
    with pytest.raises(SealingError, match="left out or added twice"):
        federation.open(tampered)


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
    with pytest.raises(SealingError, match="says 4, expected the cohort's 3"):
        federation.open(federation.honest(), cohort=["north", "east", "south"])


@pytest.mark.parametrize("position", [1, 5, 10_003, 27_647, 27_649, 40_003, 55_295])
def test_flipped_bit_of_an_aggregate_is_refused(federation: Federation, position: int) -> None:
    aggregate = bytearray(federation.honest())
    aggregate[position] ^= 0x20
    with pytest.raises(SealingError):
        federation.open(bytes(aggregate))


@pytest.mark.parametrize("position", [0, 27_648])
def test_flipped_bit_below_the_noise_changes_nothing(federation: Federation, position: int) -> None:
    """An aggregate's bytes are not authentic, what it opens to is: a change of 32 is below q/2t = 1024."""
    aggregate = bytearray(federation.honest())
    aggregate[position] ^= 0x20
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
def test_aggregate_of_another_length_is_refused(federation: Federation, change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(SealingError, match="expected 55296 bytes, got"):
        federation.open(change(federation.honest()))


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"", lambda b: b * 2])
def test_sealed_update_of_another_length_is_refused(
    federation: Federation, change: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(SealingError, match="expected 27712 bytes, got"):
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


def test_ciphertext_as_seal_saves_it_is_refused(federation: Federation) -> None:
    ciphertext = bfv._load_sum(federation.honest(), SumForm.POLYNOMIAL)
    with pytest.raises(SealingError, match="bytes, got"):
        Aggregate(federation.layout).add(bfv._save(ciphertext))


def test_random_bytes_are_refused(federation: Federation) -> None:
    data = np.random.default_rng(1).bytes(federation.layout.aggregate_bytes)
    with pytest.raises(SealingError, match="count field is no count"):
        federation.open(data)


def test_aggregate_known_to_the_coordinator_is_refused(federation: Federation) -> None:
    """A transparent ciphertext: the message scaled by q/t with nothing to hide it."""
    slots = np.zeros(SLOTS, dtype=object)
    slots[0] = 4
    scaled = (slots * COEFFICIENT_MODULUS + PLAIN_MODULUS // 2) // PLAIN_MODULUS
    data = pack_polynomial(scaled.astype(np.uint64)) + bytes(POLYNOMIAL_BYTES)
    with pytest.raises(SealingError, match="check fields do not hold"):
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
