"""The study key, and that SEAL's ciphertexts carry the noise that the bound assumes."""

import contextlib
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.secure_aggregation.schemes import bfv
from privacy.secure_aggregation.schemes.bfv import CiphertextSum, StudyKey, require_sealed, scale_plaintext
from privacy.secure_aggregation.schemes.bfv_parameters import (
    COEFFICIENT_MODULUS,
    KEY_BYTES,
    PLAIN_MODULUS,
    POLYNOMIAL_BYTES,
    RING_DEGREE,
    SEALED_BYTES,
    SLOTS,
    compute_failure_bits,
    require_noise_room,
)
from privacy.secure_aggregation.schemes.coefficients import pack_polynomial, unpack_polynomial
from privacy.secure_aggregation.schemes.sum_form import SumForm, compute_sum_bytes

Q, T = COEFFICIENT_MODULUS, PLAIN_MODULUS


def random_slots(seed: int) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(0, T, SLOTS, dtype=np.uint64)


def polynomials(data: bytes) -> list[list[int]]:
    starts = range(0, len(data), POLYNOMIAL_BYTES)
    return [unpack_polynomial(data[at : at + POLYNOMIAL_BYTES], "ciphertext").tolist() for at in starts]


def negacyclic(a: list[int], b: list[int]) -> list[int]:
    """The product modulo X^N + 1 and q, by one product of huge integers (Kronecker)."""
    width = 16  # bytes: 2 * 54 + 12 bits fit 128
    product = int.from_bytes(b"".join(x.to_bytes(width, "little") for x in a), "little") * int.from_bytes(
        b"".join(x.to_bytes(width, "little") for x in b), "little"
    )
    raw = product.to_bytes(2 * SLOTS * width, "little")
    whole = [int.from_bytes(raw[i * width : (i + 1) * width], "little") for i in range(2 * SLOTS)]
    return [(whole[i] - whole[i + SLOTS]) % Q for i in range(SLOTS)]


def coefficients_of(key: StudyKey) -> list[int]:
    """The ternary key: what (0, round(q/t)) decrypts to, modulo t."""
    scale = np.zeros(SLOTS, dtype=np.uint64)
    scale[0] = round(Q / T)
    opened = key.decrypt(bytes(POLYNOMIAL_BYTES) + pack_polynomial(scale), SumForm.POLYNOMIAL, 1)
    return [int(value) if value < T // 2 else int(value) - T for value in opened]


def test_fresh_ciphertexts_carry_the_noise_that_the_bound_assumes() -> None:
    """Noise e = c0 + c1 s - round(q m / t): at most 21 (and half a rounding) in size, variance 10.5."""
    key = StudyKey.generate()
    secret = coefficients_of(key)
    assert set(secret) == {-1, 0, 1}
    slots, total = random_slots(1), CiphertextSum(SumForm.POLYNOMIAL)
    total.add(key.encrypt(slots))
    c0, c1 = polynomials(total.to_bytes())
    masked = negacyclic(c1, [value % Q for value in secret])
    noise = [(a + b - (int(m) * Q + T // 2) // T) % Q for a, b, m in zip(c0, masked, slots, strict=True)]
    centred = np.array([e if e < Q // 2 else e - Q for e in noise])
    assert np.abs(centred).max() <= 22
    assert 9 < centred.var() < 12  # the sample variance of 4096 draws: sd 0.23


def test_ciphertexts_of_the_same_slots_share_neither_seed_nor_noise() -> None:
    key, slots = StudyKey.generate(), random_slots(2)
    sealed = [key.encrypt(slots) for _ in range(20)]
    assert len({data[POLYNOMIAL_BYTES:] for data in sealed}) == 20
    assert len({data[:POLYNOMIAL_BYTES] for data in sealed}) == 20


@pytest.mark.parametrize(("form", "size"), [(SumForm.SEEDS, 27_648 + 2 * 64), (SumForm.POLYNOMIAL, 2 * 27_648)])
@pytest.mark.parametrize("slots", [np.zeros(SLOTS, np.uint64), np.full(SLOTS, T - 1, np.uint64), random_slots(3)])
def test_sum_and_difference_decrypt_exactly(slots: NDArray[np.uint64], form: SumForm, size: int) -> None:
    key, total, other = StudyKey.generate(), CiphertextSum(form), random_slots(4)
    total.add(key.encrypt(slots))
    total.add(key.encrypt(slots))
    total.subtract(other)
    data = total.to_bytes()
    assert len(key.encrypt(slots)) == SEALED_BYTES == 27_712
    assert len(data) == compute_sum_bytes(form, 2) == size
    expected = [(2 * int(a) - int(b)) % T for a, b in zip(slots, other, strict=True)]
    assert key.decrypt(data, form, 2).tolist() == expected


@pytest.mark.parametrize("sites", [3, 16, 64])
def test_both_forms_of_a_sum_open_alike(sites: int) -> None:
    key, sums = StudyKey.generate(), [CiphertextSum(form) for form in SumForm]
    for number in range(sites):
        data = key.encrypt(random_slots(number))
        for total in sums:
            total.add(data)
    opened = [key.decrypt(total.to_bytes(), form, sites) for total, form in zip(sums, SumForm, strict=True)]
    columns = zip(*(random_slots(number).tolist() for number in range(sites)), strict=True)
    expected = [sum(column) % T for column in columns]
    assert [each.tolist() for each in opened] == [expected, expected]


def test_first_polynomials_of_a_sum_are_those_of_seals_evaluator() -> None:
    """The oracle: SEAL's own sum and difference, of the same ciphertexts."""
    key, total, evaluator = StudyKey.generate(), CiphertextSum(SumForm.POLYNOMIAL), bfv._make_ring().evaluator
    sealed = [key.encrypt(random_slots(number)) for number in range(5)]
    loaded = [
        bfv._expand(data[POLYNOMIAL_BYTES:], unpack_polynomial(data[:POLYNOMIAL_BYTES], "update"))
        for data in sealed
    ]
    theirs = loaded[0]
    total.add(sealed[0])
    for data, each in zip(sealed[1:], loaded[1:], strict=True):
        total.add(data)
        evaluator.add_inplace(theirs, each)
    total.subtract(random_slots(9))
    evaluator.sub_plain_inplace(theirs, bfv._make_plaintext(random_slots(9)))
    assert polynomials(total.to_bytes()) == bfv._read_polynomials(theirs).tolist()


@pytest.mark.parametrize("slots", [np.array([0, 1, T // 2, T // 2 + 1, T - 2, T - 1], np.uint64), random_slots(8)])
def test_scaled_plaintext_is_rounded_exactly(slots: NDArray[np.uint64]) -> None:
    """The oracle: Python's integers, of any size."""
    expected = [(int(m) * (Q // T) + (int(m) * (Q % T) + (T + 1) // 2) // T) % Q for m in slots]
    assert scale_plaintext(slots).tolist() == expected
    assert all(abs(T * scaled - int(m) * Q) * 2 <= T for scaled, m in zip(expected, slots, strict=True))


@pytest.mark.parametrize("change", ["a seed", "two seeds in another order", "a seed twice"])
def test_sum_opens_with_its_own_seeds_only(change: str) -> None:
    """The order of seeds does not matter; any other seed opens to slots that are uniform."""
    key, total, slots = StudyKey.generate(), CiphertextSum(SumForm.SEEDS), random_slots(6)
    for _ in range(3):
        total.add(key.encrypt(slots))
    data = total.to_bytes()
    first, seeds = data[:POLYNOMIAL_BYTES], [data[POLYNOMIAL_BYTES:][at : at + 64] for at in (0, 64, 128)]
    given = {
        "a seed": [bytes(64), *seeds[1:]],
        "two seeds in another order": [seeds[1], seeds[0], seeds[2]],
        "a seed twice": [seeds[0], seeds[0], seeds[2]],
    }[change]
    opened = key.decrypt(b"".join([first, *given]), SumForm.SEEDS, 3)
    right = np.array_equal(opened, (slots.astype(object) * 3 % T).astype(np.uint64))
    assert right == (change == "two seeds in another order")
    assert right or np.mean(opened == slots * np.uint64(3) % np.uint64(T)) < 0.01


def test_study_key_survives_the_way_to_a_peer() -> None:
    key, slots = StudyKey.generate(), random_slots(5)
    peer = StudyKey.from_bytes(key.to_bytes())
    assert len(key.to_bytes()) == KEY_BYTES == 27_680
    assert (peer.to_bytes(), peer.commitment, peer.check_key) == (key.to_bytes(), key.commitment, key.check_key)
    total = CiphertextSum(SumForm.SEEDS)
    total.add(key.encrypt(slots))
    total.add(peer.encrypt(slots))
    opened = [each.decrypt(total.to_bytes(), SumForm.SEEDS, 2) for each in (key, peer)]
    assert np.array_equal(opened[0], opened[1])
    assert np.array_equal(opened[0], slots * np.uint64(2) % np.uint64(T))


def test_study_keys_differ_and_so_do_their_commitments() -> None:
    one, two = StudyKey.generate(), StudyKey.generate()
    assert one.to_bytes() != two.to_bytes()
    assert one.commitment != two.commitment
    assert one.check_key != two.check_key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "expected 27680 bytes, got 27679"),
        (lambda data: data + b"\0", "expected 27680 bytes, got 27681"),
        (lambda data: b"", "expected 27680 bytes, got 0"),
        (lambda data: b"\0" + data[1:], "other parameters"),
        (lambda data: data[:32] + b"\xff" * POLYNOMIAL_BYTES, "not below the modulus"),
    ],
)
def test_study_key_that_is_malformed_is_refused(change: object, message: str) -> None:
    assert callable(change)
    with pytest.raises(SealingError, match=message):
        StudyKey.from_bytes(change(StudyKey.generate().to_bytes()))


@pytest.mark.parametrize(
    ("coefficient", "accepted"),
    [
        (0, True),
        (((COEFFICIENT_MODULUS >> 24) << 24) - 1, True),
        (COEFFICIENT_MODULUS - 1, True),
        (COEFFICIENT_MODULUS, False),
        (COEFFICIENT_MODULUS + 1, False),
        ((1 << 54) - 1, False),
    ],
)
@pytest.mark.parametrize("place", [0, 1, RING_DEGREE - 1])
def test_coefficient_is_accepted_below_the_modulus_only(coefficient: int, accepted: bool, place: int) -> None:
    coefficients = np.zeros(SLOTS, dtype=np.uint64)
    coefficients[place] = coefficient
    with contextlib.nullcontext() if accepted else pytest.raises(SealingError, match="not below the modulus"):
        require_sealed(pack_polynomial(coefficients) + bytes(64))


def test_study_key_does_not_show_itself() -> None:
    key = StudyKey.generate()
    assert key.to_bytes().hex()[:32] not in repr(key)


def tail(sites: int, threshold: int) -> float:
    """log2 of the exact probability that the noise of ``sites`` is beyond ``threshold``: 42 fair half signs a site."""
    signs = 42 * sites
    beyond = sum(math.comb(signs, heads) for heads in range(signs // 2 - threshold)) * 2
    return math.log2(beyond) - signs if beyond else -math.inf


@pytest.mark.parametrize("sites", [3, 8, 32])
def test_noise_bound_is_above_the_exact_probability(sites: int) -> None:
    for threshold in range(0, 21 * sites, 2 * sites):
        bound = (1 - threshold**2 / (21 * sites) / math.log(2)) if threshold else 1.0
        assert tail(sites, threshold) <= bound


@pytest.mark.parametrize("sites", [3, 32, 47])
def test_noise_of_few_sites_cannot_reach_the_message_at_all(sites: int) -> None:
    """21 a site, half a rounding for each plaintext: below q/2t = 1024 whatever is drawn."""
    assert 21 * sites + (sites + 1) / 2 < Q / (2 * T)
    assert compute_failure_bits(sites) > 1000


def test_noise_bound_falls_with_every_site_and_refuses_below_128_bits() -> None:
    bits = [compute_failure_bits(sites) for sites in range(3, 1200)]
    assert bits == sorted(bits, reverse=True)
    most = 3 + sum(value >= 128 for value in bits) - 1
    require_noise_room(most)
    with pytest.raises(ValueError, match=f"the noise of {most + 1} sites could change a sum"):
        require_noise_room(most + 1)
