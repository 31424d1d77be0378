"""The study key, its ciphertexts as SEAL's own BFV sees them, and the noise that the bound assumes."""

import contextlib
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.randomness import KeyStream
from privacy.secure_aggregation.schemes.bfv import (
    CiphertextSum,
    StudyKey,
    compute_sum_bytes,
    expand_seed,
    require_sealed,
    require_seals_product,
    scale_plaintext,
)
from privacy.secure_aggregation.schemes.bfv_parameters import (
    COEFFICIENT_MODULUS,
    KEY_BYTES,
    PLAIN_MODULUS,
    POLYNOMIAL_BYTES,
    RING_DEGREE,
    SEALED_BYTES,
    SEED_BYTES,
    SLOTS,
    compute_failure_bits,
    require_noise_room,
)
from privacy.secure_aggregation.schemes.coefficients import pack_polynomial, unpack_polynomial
from privacy.secure_aggregation.schemes.ring import RingSecret
from privacy.secure_aggregation.schemes.ring_errors import draw_errors
from privacy.secure_aggregation.schemes.ring_product import TernaryFactor
from tests.privacy.secure_aggregation.schemes.seal_bfv import SealBfv
from tests.privacy.secure_aggregation.schemes.test_ring_product import multiply_as_integers

Q, T = COEFFICIENT_MODULUS, PLAIN_MODULUS


def random_slots(seed: int) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(0, T, SLOTS, dtype=np.uint64)


def read_secret(key: StudyKey) -> list[int]:
    """The coefficients of a study key, read anew from its bytes."""
    coefficients: list[int] = RingSecret.load(unpack_polynomial(key.to_bytes()[32:], "key")).coefficients.tolist()
    return coefficients


def polynomials(data: bytes) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Both polynomials of a ciphertext or a sum."""
    second = np.zeros(SLOTS, dtype=np.uint64)
    for start in range(POLYNOMIAL_BYTES, len(data), SEED_BYTES):
        second = (second + expand_seed(data[start : start + SEED_BYTES])) % np.uint64(Q)
    return unpack_polynomial(data[:POLYNOMIAL_BYTES], "ciphertext"), second


def test_fresh_ciphertexts_carry_the_noise_that_the_bound_assumes() -> None:
    """Noise e = c0 + c1 s - round(q m / t): at most 21 (and half a rounding) in size, variance 10.5."""
    key, slots = StudyKey.generate(), random_slots(1)
    c0, c1 = polynomials(key.encrypt(slots))
    product = multiply_as_integers(c1.tolist(), read_secret(key))
    noise = [(int(a) + b - (int(m) * Q + T // 2) // T) % Q for a, b, m in zip(c0, product, slots, strict=True)]
    centred = np.array([e if e < Q // 2 else e - Q for e in noise])
    assert np.abs(centred).max() <= 22
    assert 9 < centred.var() < 12  # the sample variance of 4096 draws: sd 0.23


def test_errors_are_distributed_as_seals() -> None:
    """42 fair half signs: counted against the binomial probabilities, by chi-square over 80 ciphertexts."""
    stream = KeyStream(bytes(32))
    drawn = np.concatenate([draw_errors(RING_DEGREE, stream) for _ in range(80)])
    places = range(-12, 13)
    expected = [len(drawn) * math.comb(42, 21 + place) / 2**42 for place in places]
    found = [int(np.sum(drawn == place)) for place in places]
    chi_square = sum((one - other) ** 2 / other for one, other in zip(found, expected, strict=True))
    assert chi_square < 25 + 6 * 50**0.5
    assert np.abs(drawn).max() <= 21


def test_seals_own_bfv_opens_what_is_encrypted_and_the_other_way_round() -> None:
    key, slots = StudyKey.generate(), random_slots(7)
    oracle, total = SealBfv(key), CiphertextSum()
    assert np.array_equal(oracle.decrypt(*polynomials(key.encrypt(slots))), slots)
    first, second = oracle.encrypt(slots)
    opened = [
        (int(a) + b) % Q
        for a, b in zip(first, multiply_as_integers(second.tolist(), read_secret(key)), strict=True)
    ]
    assert [(value * T + Q // 2) // Q % T for value in opened] == slots.tolist()
    for number in range(5):
        total.add(key.encrypt(random_slots(number)))
    total.subtract(random_slots(9))
    data = total.to_bytes()
    assert np.array_equal(oracle.decrypt(*polynomials(data)), key.decrypt(data, 5))


def test_factor_whose_products_are_not_seals_is_refused() -> None:
    secret = RingSecret.generate()
    require_seals_product(secret, TernaryFactor(secret.coefficients))
    almost = secret.coefficients.copy()
    almost[-1] = 0 if almost[-1] else 1
    for other in (almost, RingSecret.generate().coefficients):
        with pytest.raises(SealingError, match="does not multiply exactly"):
            require_seals_product(secret, TernaryFactor(other))


def test_seeds_expand_to_uniform_residues() -> None:
    """The oracle: AES-256-CTR, the upper 54 bits of each word, those beyond the modulus left out."""
    wanted: list[int] = []
    stream = KeyStream(bytes(range(32)))
    while len(wanted) < RING_DEGREE:
        words = stream.draw_bytes(8 * (RING_DEGREE - len(wanted) + 16))
        numbers = [int.from_bytes(words[at : at + 8], "little") >> 10 for at in range(0, len(words), 8)]
        wanted += [number for number in numbers if number < Q][: RING_DEGREE - len(wanted)]
    assert expand_seed(bytes(range(32))).tolist() == wanted


def test_ciphertexts_of_the_same_slots_share_neither_seed_nor_noise() -> None:
    key, slots = StudyKey.generate(), random_slots(2)
    sealed = [key.encrypt(slots) for _ in range(20)]
    assert len({data[POLYNOMIAL_BYTES:] for data in sealed}) == 20
    assert len({data[:POLYNOMIAL_BYTES] for data in sealed}) == 20


@pytest.mark.parametrize("slots", [np.zeros(SLOTS, np.uint64), np.full(SLOTS, T - 1, np.uint64), random_slots(3)])
def test_sum_and_difference_decrypt_exactly(slots: NDArray[np.uint64]) -> None:
    key, total, other = StudyKey.generate(), CiphertextSum(), random_slots(4)
    total.add(key.encrypt(slots))
    total.add(key.encrypt(slots))
    total.subtract(other)
    data = total.to_bytes()
    assert len(key.encrypt(slots)) == SEALED_BYTES == 27_680
    assert len(data) == compute_sum_bytes(2) == 27_648 + 2 * 32
    expected = [(2 * int(a) - int(b)) % T for a, b in zip(slots, other, strict=True)]
    assert key.decrypt(data, 2).tolist() == expected


@pytest.mark.parametrize("parts", [1, 4, 5, 11])
def test_ciphertexts_that_are_encrypted_together_open_together_and_alone(parts: int) -> None:
    """As many as are worked on at a time, and some more; each has its own seed."""
    key, slots = StudyKey.generate(), np.concatenate([random_slots(number) for number in range(parts)])
    sealed = key.encrypt(slots)
    each = [sealed[at : at + SEALED_BYTES] for at in range(0, len(sealed), SEALED_BYTES)]
    assert len(each) == len({part[POLYNOMIAL_BYTES:] for part in each}) == parts
    assert key.decrypt(memoryview(sealed), 1).tolist() == slots.tolist()
    assert np.concatenate([key.decrypt(part, 1) for part in each]).tolist() == slots.tolist()


@pytest.mark.parametrize("parts", [1, 3, 4, 5, 11])
def test_ciphertexts_that_are_summed_together_are_the_sums_of_each(parts: int) -> None:
    """As many as are worked on at a time, fewer, and some more; what is added is what whole numbers add up to."""
    key, sites = StudyKey.generate(), 3
    sealed = [
        key.encrypt(np.concatenate([random_slots(10 * site + part) for part in range(parts)]))
        for site in range(sites)
    ]
    known = np.concatenate([random_slots(100 + part) for part in range(parts)])
    together, alone = CiphertextSum(parts), [CiphertextSum() for _ in range(parts)]
    for data in sealed:
        require_sealed(data)
        together.add(memoryview(data))
        for part, total in enumerate(alone):
            total.add(data[part * SEALED_BYTES : (part + 1) * SEALED_BYTES])
    for part in range(parts):
        each = [polynomials(data[part * SEALED_BYTES : (part + 1) * SEALED_BYTES])[0].tolist() for data in sealed]
        start = part * compute_sum_bytes(sites)
        first = unpack_polynomial(together.to_bytes()[start : start + POLYNOMIAL_BYTES], "sum").tolist()
        assert first == [sum(coefficients) % Q for coefficients in zip(*each, strict=True)]
    together.subtract(known)
    for part, total in enumerate(alone):
        total.subtract(known[part * SLOTS : (part + 1) * SLOTS])
    assert together.to_bytes() == b"".join(total.to_bytes() for total in alone)


@pytest.mark.parametrize("data", [b"", bytes(27_679), bytes(2 * 27_680 - 1)])
def test_sealed_update_of_another_length_is_refused(data: bytes) -> None:
    with pytest.raises(SealingError, match="expected 27680 bytes for each ciphertext, got"):
        require_sealed(data)


@pytest.mark.parametrize("data", [b"", bytes(27_679), bytes(2 * 27_680 - 1), bytes(27_712)])
def test_aggregate_of_another_length_is_refused(data: bytes) -> None:
    with pytest.raises(SealingError, match="expected 27680 bytes for each ciphertext, got"):
        StudyKey.generate().decrypt(data, 1)


@pytest.mark.parametrize("sites", [3, 16, 64])
def test_sum_of_many_sites_opens_exactly(sites: int) -> None:
    key, total = StudyKey.generate(), CiphertextSum()
    for number in range(sites):
        total.add(key.encrypt(random_slots(number)))
    columns = zip(*(random_slots(number).tolist() for number in range(sites)), strict=True)
    assert key.decrypt(total.to_bytes(), sites).tolist() == [sum(column) % T for column in columns]


@pytest.mark.parametrize("slots", [np.array([0, 1, T // 2, T // 2 + 1, T - 2, T - 1], np.uint64), random_slots(8)])
def test_scaled_plaintext_is_a_nearest_integer(slots: NDArray[np.uint64]) -> None:
    """The oracle: Python's integers, of any size. A float may take the other neighbour where both are as near."""
    for slot, scaled in zip(slots.tolist(), scale_plaintext(slots).tolist(), strict=True):
        assert 0 <= scaled < Q
        assert abs(T * scaled - slot * Q) * 2 <= T * (1 + 2**-8)


@pytest.mark.parametrize("change", ["a seed", "two seeds in another order", "a seed twice"])
def test_sum_opens_with_its_own_seeds_only(change: str) -> None:
    """The order of seeds does not matter; any other seed opens to slots that are uniform."""
    key, total, slots = StudyKey.generate(), CiphertextSum(), random_slots(6)
    for _ in range(3):
        total.add(key.encrypt(slots))
    data = total.to_bytes()
    first, seeds = data[:POLYNOMIAL_BYTES], [data[POLYNOMIAL_BYTES:][at : at + 32] for at in (0, 32, 64)]
    given = {
        "a seed": [bytes(32), *seeds[1:]],
        "two seeds in another order": [seeds[1], seeds[0], seeds[2]],
        "a seed twice": [seeds[0], seeds[0], seeds[2]],
    }[change]
    opened = key.decrypt(b"".join([first, *given]), 3)
    right = np.array_equal(opened, (slots.astype(object) * 3 % T).astype(np.uint64))
    assert right == (change == "two seeds in another order")
    assert right or np.mean(opened == slots * np.uint64(3) % np.uint64(T)) < 0.01


def test_study_key_survives_the_way_to_a_peer() -> None:
    key, slots = StudyKey.generate(), random_slots(5)
    peer = StudyKey.from_bytes(key.to_bytes())
    assert len(key.to_bytes()) == KEY_BYTES == 27_680
    assert (peer.to_bytes(), peer.commitment, peer.check_key) == (key.to_bytes(), key.commitment, key.check_key)
    total = CiphertextSum()
    total.add(key.encrypt(slots))
    total.add(peer.encrypt(slots))
    opened = [each.decrypt(total.to_bytes(), 2) for each in (key, peer)]
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
        (lambda data: data[:32] + bytes(POLYNOMIAL_BYTES - 1) + b"\1", "a coefficient is none of -1, 0 and 1"),
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
        require_sealed(pack_polynomial(coefficients) + bytes(SEED_BYTES))


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


@pytest.mark.parametrize("sites", [3, 32, 46])
def test_noise_of_few_sites_cannot_reach_the_message_at_all(sites: int) -> None:
    """21 a site, half a rounding for each plaintext: below q/2t = 1024 whatever is drawn."""
    assert 21 * sites + (sites + 1) / 2 < Q / (2 * T) - 8
    assert compute_failure_bits(sites) > 1000


def test_noise_bound_falls_with_every_site_and_refuses_below_128_bits() -> None:
    bits = [compute_failure_bits(sites) for sites in range(3, 1200)]
    assert bits == sorted(bits, reverse=True)
    most = 3 + sum(value >= 128 for value in bits) - 1
    require_noise_room(most)
    with pytest.raises(ValueError, match=f"the noise of {most + 1} sites could change a sum"):
        require_noise_room(most + 1)
