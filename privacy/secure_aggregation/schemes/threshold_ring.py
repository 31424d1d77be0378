"""Compute in the ring of threshold decryption: polynomials modulo X^N + 1, N = 8192, and a q of three 54-bit primes.

* A polynomial is its residues modulo the three primes, (3, N). Sums are taken residue by residue.
* The only products that are needed have a ternary factor. They are exact by fast Fourier transforms in double
  precision: the other factor is split in halves of 27 bits, and every sum of products stays below 2^40.
* Only decryption looks at a whole number modulo q, by Chinese remainders.

q has 162 bits. The Homomorphic Encryption Standard (2018) allows 218 at this degree for 128 bits of security. The
room is for the noise that hides a share (:mod:`privacy.secure_aggregation.schemes.threshold`); with N = 4096 and its
109 bits there is not enough.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.randomness import KeyStream
from privacy.secure_aggregation.schemes.ring_errors import draw_errors

DEGREE: Final = 8192
PRIMES: Final = (18014398508400641, 18014398508138497, 18014398507892737)
MODULUS: Final = math.prod(PRIMES)
PRIME_BITS: Final = 54
POLYNOMIAL_BYTES: Final = len(PRIMES) * DEGREE * PRIME_BITS // 8

Residues = NDArray[np.uint64]
"""A polynomial, (3, N)."""
Ternary = NDArray[np.int8]
"""A polynomial with coefficients -1, 0 and 1, (N,)."""

_HALF_BITS: Final = 27
_COLUMN: Final = np.array(PRIMES, dtype=np.uint64)[:, None]


def add(*polynomials: Residues) -> Residues:
    """Add at most 1,000 polynomials: 64 bits hold the sum of so many residues."""
    total: Residues = np.sum(polynomials, axis=0, dtype=np.uint64) % _COLUMN
    return total


def negate(polynomial: Residues) -> Residues:
    """Return -polynomial."""
    return (_COLUMN - polynomial) % _COLUMN


def multiply(polynomial: Residues, ternary: Ternary) -> Residues:
    """Multiply a polynomial with a ternary one."""
    spectrum = np.fft.rfft(ternary.astype(np.float64), 2 * DEGREE)
    product = np.zeros((len(PRIMES), DEGREE), dtype=np.int64)
    for shift in (_HALF_BITS, 0):
        half = (polynomial >> np.uint64(shift)) & np.uint64((1 << _HALF_BITS) - 1)
        whole = np.rint(np.fft.irfft(np.fft.rfft(half.astype(np.float64), 2 * DEGREE) * spectrum)).astype(np.int64)
        folded = whole[:, :DEGREE] - whole[:, DEGREE:]  # X^N = -1
        product = _double(product, _HALF_BITS) + folded
    return from_signed(product)


def _double(numbers: NDArray[np.int64], times: int) -> NDArray[np.int64]:
    """Double numbers below 2^54 in size so often, modulo the primes; nine times a step, which 63 bits hold."""
    primes = _COLUMN.astype(np.int64)
    for _ in range(times // 9):
        numbers = (numbers % primes << 9) % primes
    return numbers


def from_signed(numbers: NDArray[np.int64]) -> Residues:
    """Return the residues of integers with signs, (N,) or (3, N)."""
    residues: Residues = np.mod(numbers, _COLUMN.astype(np.int64)).astype(np.uint64)
    return residues


def from_integers(numbers: NDArray[np.object_]) -> Residues:
    """Return the residues of Python's integers, (N,)."""
    return np.stack([(numbers % prime).astype(np.uint64) for prime in PRIMES])


def to_integers(polynomial: Residues) -> NDArray[np.object_]:
    """Return the coefficients, centred modulo q; (N,) of Python's integers."""
    total = np.zeros(DEGREE, dtype=object)
    for prime, residues in zip(PRIMES, polynomial, strict=True):
        rest = MODULUS // prime
        total += residues.astype(object) * (rest * pow(rest, -1, prime))
    total %= MODULUS
    centred: NDArray[np.object_] = np.where(total > MODULUS // 2, total - MODULUS, total)
    return centred


def draw_uniform(stream: KeyStream) -> Residues:
    """Draw a polynomial uniform modulo q."""
    return np.stack([stream.draw_below(prime, DEGREE) for prime in PRIMES])


def draw_ternary(stream: KeyStream) -> Ternary:
    """Draw a polynomial with coefficients uniform in -1, 0 and 1."""
    return (stream.draw_below(3, DEGREE).astype(np.int8) - 1).astype(np.int8)


def draw_error(stream: KeyStream) -> Residues:
    """Draw an error, of SEAL's distribution."""
    return from_signed(draw_errors(DEGREE, stream))


def draw_flood(bits: int, stream: KeyStream) -> Residues:
    """Draw coefficients uniform in [-2^bits, 2^bits)."""
    size = (bits + 8) // 8
    data, mask = stream.draw_bytes(size * DEGREE), (2 << bits) - 1
    drawn = [
        (int.from_bytes(data[start : start + size], "little") & mask) - (1 << bits)
        for start in range(0, len(data), size)
    ]
    return from_integers(np.array(drawn, dtype=object))


def pack(polynomial: Residues) -> bytes:
    """Write a polynomial in 54 bits a residue, without gaps."""
    bits = np.unpackbits(polynomial.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    return np.packbits(bits[:, :PRIME_BITS].reshape(-1), bitorder="little").tobytes()


def unpack(data: bytes, name: str) -> Residues:
    """Read a polynomial that another party wrote.

    Raises:
        SealingError: another length, or a residue is not below its prime.
    """
    if len(data) != POLYNOMIAL_BYTES:
        raise SealingError(f"the {name} is refused: expected {POLYNOMIAL_BYTES} bytes, got {len(data)}")
    bits = np.zeros((len(PRIMES) * DEGREE, 64), dtype=np.uint8)
    bits[:, :PRIME_BITS] = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").reshape(-1, PRIME_BITS)
    residues = (
        np.packbits(bits, axis=1, bitorder="little").view("<u8").astype(np.uint64).reshape(len(PRIMES), DEGREE)
    )
    if np.any(residues >= _COLUMN):
        raise SealingError(f"the {name} is refused: a coefficient is not below its modulus")
    return residues
