"""Primes from a keystream, against trial division and against numbers that weak tests take for primes."""

import pytest

from privacy.randomness import KeyStream
from privacy.secure_aggregation.schemes.primes import draw_prime, draw_safe_prime, is_prime

STREAM = KeyStream(bytes(32))
CARMICHAEL = (561, 1105, 1729, 2465, 6601, 8911, 41041, 825265)
STRONG_PSEUDOPRIMES = (2047, 3215031751, 3825123056546413051)  # to base 2; to 2, 3, 5, 7; to the first nine primes


def test_verdict_is_that_of_trial_division() -> None:
    divided = {number for number in range(5, 4000, 2) if all(number % each for each in range(3, number, 2))}
    assert {number for number in range(5, 4000, 2) if is_prime(number, STREAM)} == divided


@pytest.mark.parametrize("composite", [*CARMICHAEL, *STRONG_PSEUDOPRIMES])
def test_numbers_that_fool_fixed_bases_are_found_out(composite: int) -> None:
    assert not is_prime(composite, STREAM)


def test_same_stream_gives_the_same_primes_of_the_asked_length() -> None:
    one, other = (KeyStream(b"k" * 32) for _ in range(2))
    drawn = [draw_prime(128, one) for _ in range(3)]
    assert drawn == [draw_prime(128, other) for _ in range(3)]
    assert len(set(drawn)) == 3
    assert {prime.bit_length() for prime in drawn} == {128}
    assert (drawn[0] * drawn[1]).bit_length() == 256


def test_safe_prime_is_twice_a_prime_and_one() -> None:
    prime = draw_safe_prime(96, STREAM)
    assert prime.bit_length() == 96
    assert is_prime(prime, STREAM)
    assert is_prime(prime // 2, STREAM)


def test_short_prime_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 bits, got 16"):
        draw_prime(16, STREAM)
