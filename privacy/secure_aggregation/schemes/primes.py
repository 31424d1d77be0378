"""Draw secret primes from a keystream: the same stream gives the same primes at every site.

* A candidate is odd and has its two highest bits set, so that the product of two has exactly twice the bits.
* Candidates with a small factor are left out; the others pass ``ROUNDS`` of Miller and Rabin's test with random
  bases. For random candidates of 512 bits and more the chance of a composite is far below 2^-80 (Damgård, Landrock
  and Pomerance 1993).

Python's integers take time that depends on their values: draw primes only where nobody else measures the time.
"""

from typing import Final

import numpy as np

from privacy.randomness import KeyStream

ROUNDS: Final = 32
_SIEVED: Final = 1 << 14


def _list_small_primes() -> tuple[int, ...]:
    kept = np.ones(_SIEVED, dtype=bool)
    kept[:2] = False
    for number in range(2, 1 << 7):
        kept[number * number :: number] = False
    return tuple(int(prime) for prime in np.flatnonzero(kept) if prime > 2)


_SMALL: Final = _list_small_primes()


def draw_prime(bits: int, stream: KeyStream) -> int:
    """Draw a prime of ``bits`` bits.

    Raises:
        ValueError: fewer than 32 bits.
    """
    while True:
        candidate = _draw_candidate(bits, stream) | 1
        if all(candidate % small for small in _SMALL) and is_prime(candidate, stream):
            return candidate


def draw_safe_prime(bits: int, stream: KeyStream) -> int:
    """Draw a prime p = 2 p' + 1 of ``bits`` bits with p' prime; seconds for 256 bits, minutes for 1,536.

    Raises:
        ValueError: fewer than 32 bits.
    """
    while True:
        candidate = _draw_candidate(bits, stream) | 3
        half = candidate >> 1
        if any(candidate % small in (0, 1) for small in _SMALL):
            continue
        if is_prime(half, stream, rounds=1) and is_prime(candidate, stream) and is_prime(half, stream):
            return candidate


def is_prime(number: int, stream: KeyStream, rounds: int = ROUNDS) -> bool:
    """Return whether an odd ``number`` above 3 passes ``rounds`` of Miller and Rabin's test with random bases."""
    twos = ((number - 1) & (1 - number)).bit_length() - 1
    odd, size = (number - 1) >> twos, (number.bit_length() + 7) // 8 + 16
    for _ in range(rounds):
        base = 2 + int.from_bytes(stream.draw_bytes(size), "big") % (number - 3)
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def _draw_candidate(bits: int, stream: KeyStream) -> int:
    if bits < 32:
        raise ValueError(f"expected a prime of at least 32 bits, got {bits}")
    drawn = int.from_bytes(stream.draw_bytes((bits + 7) // 8), "big") & ((1 << bits) - 1)
    return drawn | 3 << (bits - 2)
