"""The study key, and that SEAL's ciphertexts carry the noise that the bound assumes."""

import contextlib
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.secure_aggregation.schemes import bfv
from privacy.secure_aggregation.schemes.bfv import CiphertextSum, StudyKey, require_sealed
from privacy.secure_aggregation.schemes.bfv_parameters import (
    AGGREGATE_BYTES,
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

Q, T = COEFFICIENT_MODULUS, PLAIN_MODULUS


def random_slots(seed: int) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(0, T, SLOTS, dtype=np.uint64)


def polynomials(data: bytes) -> list[list[int]]:
    words = np.frombuffer(bfv._unpack(data, "ciphertext"), dtype="<u8")
    return [part.tolist() for part in words.reshape(-1, SLOTS)]


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
    scale = bfv._pack(np.array([round(Q / T)], dtype="<u8").tobytes())
    opened = key.decrypt(bytes(POLYNOMIAL_BYTES) + scale + bytes(POLYNOMIAL_BYTES - len(scale)))
    return [int(value) if value < T // 2 else int(value) - T for value in opened]


def test_fresh_ciphertexts_carry_the_noise_that_the_bound_assumes() -> None:
    """Noise e = c0 + c1 s - round(q m / t): at most 21 (and half a rounding) in size, variance 10.5."""
    key = StudyKey.generate()
    secret = coefficients_of(key)
    assert set(secret) == {-1, 0, 1}
    slots, total = random_slots(1), CiphertextSum()
    total.add(key.encrypt(slots))
    c0, c1 = polynomials(total.to_bytes())
    masked = negacyclic(c1, [value % Q for value in secret])
    noise = [(a + b - (int(m) * Q + T // 2) // T) % Q for a, b, m in zip(c0, masked, slots, strict=True)]
    centred = np.array([e if e < Q // 2 else e - Q for e in noise])
    assert np.abs(centred).max() <= 22
    assert 9.5 < centred.var() < 11.5  # the sample variance of 4096 draws: sd 0.23


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
    assert len(key.encrypt(slots)) == SEALED_BYTES == 28_736
    assert len(data) == AGGREGATE_BYTES == 57_344
    expected = [(2 * int(a) - int(b)) % T for a, b in zip(slots, other, strict=True)]
    assert key.decrypt(data).tolist() == expected


def test_study_key_survives_the_way_to_a_peer() -> None:
    key, slots = StudyKey.generate(), random_slots(5)
    peer = StudyKey.from_bytes(key.to_bytes())
    assert len(key.to_bytes()) == KEY_BYTES == 28_704
    assert (peer.to_bytes(), peer.commitment, peer.check_key) == (key.to_bytes(), key.commitment, key.check_key)
    total = CiphertextSum()
    total.add(key.encrypt(slots))
    total.add(peer.encrypt(slots))
    assert np.array_equal(peer.decrypt(total.to_bytes()), key.decrypt(total.to_bytes()))


def test_study_keys_differ_and_so_do_their_commitments() -> None:
    one, two = StudyKey.generate(), StudyKey.generate()
    assert one.to_bytes() != two.to_bytes()
    assert one.commitment != two.commitment
    assert one.check_key != two.check_key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "expected 28704 bytes, got 28703"),
        (lambda data: data + b"\0", "expected 28704 bytes, got 28705"),
        (lambda data: b"", "expected 28704 bytes, got 0"),
        (lambda data: b"\0" + data[1:], "other parameters"),
        (lambda data: data[:-7] + b"\xff" * 7, "not below the modulus"),
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
        (1 << 54, False),
        ((1 << 56) - 1, False),
    ],
)
@pytest.mark.parametrize("place", [0, 1, RING_DEGREE - 1])
def test_coefficient_is_accepted_below_the_modulus_only(coefficient: int, accepted: bool, place: int) -> None:
    data = bytearray(SEALED_BYTES)
    data[7 * place : 7 * place + 7] = coefficient.to_bytes(7, "little")
    with contextlib.nullcontext() if accepted else pytest.raises(SealingError, match="not below the modulus"):
        require_sealed(bytes(data))


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
