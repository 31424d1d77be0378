"""Arithmetic modulo X^N + 1 and three primes, against huge integers (Kronecker) and plain loops."""

import numpy as np
import pytest

from privacy.errors import SealingError
from privacy.randomness import KeyStream, from_os
from privacy.secure_aggregation.schemes.primes import is_prime
from privacy.secure_aggregation.schemes.threshold_ring import (
    DEGREE,
    MODULUS,
    POLYNOMIAL_BYTES,
    PRIMES,
    add,
    draw_error,
    draw_flood,
    draw_ternary,
    draw_uniform,
    from_integers,
    from_signed,
    multiply,
    negate,
    pack,
    to_integers,
    unpack,
)


def kronecker(a: list[int], b: list[int]) -> list[int]:
    """The product modulo X^N + 1, by one product of huge integers."""
    width = 10
    left, right = (
        int.from_bytes(b"".join(number.to_bytes(width, "little") for number in each), "little") for each in (a, b)
    )
    raw = (left * right).to_bytes(2 * DEGREE * width, "little")
    whole = [int.from_bytes(raw[at : at + width], "little") for at in range(0, len(raw), width)]
    return [whole[place] - whole[place + DEGREE] for place in range(DEGREE)]


def test_modulus_is_of_three_primes_and_within_the_standards_218_bits() -> None:
    assert all(is_prime(prime, KeyStream(bytes(32))) and prime.bit_length() == 54 for prime in PRIMES)
    assert len(set(PRIMES)) == 3
    assert MODULUS.bit_length() == 162 <= 218


@pytest.mark.parametrize("largest", [False, True])
def test_product_with_a_ternary_polynomial_is_the_exact_one(largest: bool) -> None:
    drawn = from_signed(np.full(DEGREE, -1)) if largest else draw_uniform(from_os())
    ternary = np.ones(DEGREE, dtype=np.int8) if largest else draw_ternary(from_os())
    product = multiply(drawn, ternary)
    for residues, found, prime in zip(drawn, product, PRIMES, strict=True):
        plus, minus = (kronecker(residues.tolist(), (ternary == sign).astype(int).tolist()) for sign in (1, -1))
        assert found.tolist() == [(one - other) % prime for one, other in zip(plus, minus, strict=True)]


def test_numbers_survive_remainders_signs_and_sums() -> None:
    numbers = np.array(
        [MODULUS // 2 - place if place % 2 else -(1 << 150) + place for place in range(DEGREE)], object
    )
    assert to_integers(from_integers(numbers)).tolist() == numbers.tolist()
    assert not to_integers(add(from_integers(numbers), negate(from_integers(numbers)))).any()


def test_draws_have_the_assumed_ranges() -> None:
    error = to_integers(draw_error(from_os())).astype(int)
    assert np.abs(error).max() <= 21
    assert error.var() == pytest.approx(10.5, rel=0.1)
    assert set(draw_ternary(from_os()).tolist()) == {-1, 0, 1}
    flood = to_integers(draw_flood(100, from_os()))
    assert -(1 << 100) <= flood.min() < -(1 << 99)
    assert (1 << 99) < flood.max() < 1 << 100


def test_polynomial_is_packed_and_read_again_and_a_malformed_one_is_refused() -> None:
    polynomial = draw_uniform(from_os())
    data = pack(polynomial)
    assert len(data) == POLYNOMIAL_BYTES == 165_888
    assert np.array_equal(unpack(data, "share"), polynomial)
    with pytest.raises(SealingError, match="share is refused: expected 165888 bytes, got 1"):
        unpack(b"x", "share")
    with pytest.raises(SealingError, match="share is refused: a coefficient is not below"):
        unpack(b"\xff" * POLYNOMIAL_BYTES, "share")
