"""Encrypt by learning with errors, with a matrix and without a ring: Phong et al.'s LWE-based scheme.

* The secret S is a matrix of small numbers, (n, l); a ciphertext of l numbers modulo p is (c1, c2), modulo q = 2^77,
  with c1 S + c2 = message + p * noise. It opens while that is within q/2 of zero, and ciphertexts add.
* In public, P = p R - A S; a ciphertext is e1 [A | P] + p [e2 | e3] + [0 | m], everything **modulo q**. Reduced
  modulo p instead, as an implementation in public is said to do, P is -A S without any error, and gives S away to
  whoever solves linear equations (``tests/privacy/secure_aggregation/schemes/test_lwe.py``).
* Who holds S encrypts without A: c1 is uniform from a public seed of its own, and c2 = m + p e - c1 S.
* Numbers modulo q are three limbs of 26 bits, (3, ...). A limb times a small number, summed n times, stays below
  2^53, so a product of matrices in double precision is exact.

**Guarantee.** Without S a ciphertext looks uniform, if learning with errors with a secret of the errors' distribution
is hard for these parameters. The table of the Homomorphic Encryption Standard (2018) lets q have 54 bits at
dimension 2,048 and 109 at 4,096 for 128 bits of security; on the line between these, 79 bits at 3,000. No attack by
quantum computers is known. Anybody can change a ciphertext.

Sources: Phong, Aono, Hayashi, Wang and Moriai 2018, section on LWE; Lindner and Peikert 2011 (the scheme).
"""

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import KeyStream, from_os

LIMB_BITS: Final = 26
_LIMBS: Final = 3
_LIMB_MASK: Final = (1 << LIMB_BITS) - 1
_COLUMNS: Final = 512  # of the secret, turned into floats at a time
_TAIL: Final = 40  # beyond it lies less than 2^-64 of the errors

Limbs = NDArray[np.int64]
"""Numbers modulo q: limbs of 26 bits, the lowest first, (3, ...)."""
Small = NDArray[np.int8]
"""Errors and secrets: small integers."""


@dataclass(frozen=True)
class LweParameters:
    """The dimension n, the plaintext modulus p, the bits of q, and s of the discrete Gaussian.

    An error x has probability proportional to exp(-pi x^2 / s^2): its standard deviation is s / sqrt(2 pi).
    """

    dimension: int = 3000
    plain_modulus: int = (1 << 48) + 1
    modulus_bits: int = 77
    gaussian: float = 8.0

    def __post_init__(self) -> None:
        if not 2 * LIMB_BITS < self.modulus_bits <= 3 * LIMB_BITS:
            raise ValueError(f"q has {2 * LIMB_BITS + 1} to {3 * LIMB_BITS} bits here, got {self.modulus_bits}")
        if not self.plain_modulus & 1 or self.plain_modulus.bit_length() >= self.modulus_bits:
            raise ValueError("p must be odd, so that it has an inverse modulo q, and smaller than q")
        if not 1 <= self.gaussian <= 8:
            raise ValueError(f"expected an s of the errors in 1..8, got {self.gaussian}")
        if self.dimension * _TAIL << LIMB_BITS > 1 << 53:
            raise ValueError(f"a dimension of {self.dimension} is too large for exact products in double precision")

    @property
    def deviation(self) -> float:
        """Standard deviation of one error."""
        return self.gaussian / math.sqrt(2 * math.pi)

    @property
    def noise_deviation(self) -> float:
        """Standard deviation of p (e1 R + e2 S + e3), the noise of one ciphertext made in public."""
        product = 2 * self.dimension * self.deviation**4 + self.deviation**2
        return self.plain_modulus * math.sqrt(product)

    def compute_bits(self, numbers: int) -> int:
        """Return the bits of a ciphertext of ``numbers`` numbers."""
        return (self.dimension + numbers) * self.modulus_bits

    def split(self, number: int) -> tuple[int, int, int]:
        """Return the limbs of a number modulo q."""
        low, middle, high = (number >> (LIMB_BITS * place) & _LIMB_MASK for place in range(_LIMBS))
        return low, middle, high & self.top_mask

    @property
    def top_mask(self) -> int:
        """The bits of a number's last limb."""
        return (1 << (self.modulus_bits - 2 * LIMB_BITS)) - 1


@dataclass(frozen=True)
class LweCiphertext:
    """c1, (3, n), and c2, (3, l)."""

    first: Limbs
    second: Limbs


class LweSecret:
    """The secret S, (n, l)."""

    def __init__(self, parameters: LweParameters, secret: Small) -> None:
        self.parameters = parameters
        self._secret = secret

    @classmethod
    def draw(cls, parameters: LweParameters, numbers: int, stream: KeyStream) -> "LweSecret":
        """Draw a secret for ciphertexts of ``numbers`` numbers; the same stream gives the same one."""
        return cls(parameters, draw_errors(parameters, (parameters.dimension, numbers), stream))

    @property
    def numbers(self) -> int:
        """How many numbers a ciphertext holds: l."""
        return len(self._secret[0])

    def make_public(self) -> "LwePublicKey":
        """Make the public key A, P = p R - A S. R is drawn, used and forgotten."""
        stream, parameters = from_os(), self.parameters
        uniform = draw_uniform(parameters, parameters.dimension**2, stream)
        matrix = uniform.reshape(_LIMBS, parameters.dimension, parameters.dimension)  # (3, n, n)
        errors = draw_errors(parameters, self._secret.shape, stream)
        masked = multiply(matrix, self._secret, parameters)
        return LwePublicKey(parameters, matrix, reduce(_times_plain(errors, parameters) - masked, parameters))

    def encrypt(self, numbers: NDArray[np.int64], first: Limbs) -> Limbs:
        """Return c2 of ``numbers``, (l,), for a c1 that is uniform and used once.

        Run by a site that holds the secret.
        """
        parameters = self.parameters
        errors = draw_errors(parameters, (self.numbers,), from_os())
        masked = multiply(first[:, None, :], self._secret, parameters)[:, 0]
        return reduce(_times_plain(errors, parameters) + _split_signed(numbers) - masked, parameters)

    def decrypt(self, ciphertext: LweCiphertext) -> NDArray[np.int64]:
        """Return the sum of the messages modulo p, each in [0, p); (l,)."""
        opened = self.read_noise(ciphertext)
        return np.array([number % self.parameters.plain_modulus for number in opened], dtype=np.int64)

    def read_noise(self, ciphertext: LweCiphertext) -> list[int]:
        """Return message + p * noise, centred modulo q; (l,)."""
        parameters, modulus = self.parameters, 1 << self.parameters.modulus_bits
        opened = reduce(
            multiply(ciphertext.first[:, None, :], self._secret, parameters)[:, 0] + ciphertext.second, parameters
        )
        numbers = join(opened)
        return [number - modulus if number >> (parameters.modulus_bits - 1) else number for number in numbers]


class LwePublicKey:
    """A, (3, n, n), and P, (3, n, l): anybody encrypts with it."""

    def __init__(self, parameters: LweParameters, matrix: Limbs, masked: Limbs) -> None:
        self.parameters = parameters
        self.matrix, self.masked = matrix, masked

    def encrypt(self, numbers: NDArray[np.int64]) -> LweCiphertext:
        """Encrypt ``numbers``, (l,), any integers; they are read modulo p."""
        parameters, stream = self.parameters, from_os()
        mixing = draw_errors(parameters, (1, parameters.dimension), stream)  # e1
        products = [
            multiply_left(mixing, part, parameters)[:, 0] for part in (self.matrix, self.masked)
        ]  # e1 A and e1 P
        errors = [draw_errors(parameters, (part.shape[1],), stream) for part in products]  # e2 and e3
        first, second = (
            product + _times_plain(error, parameters) for product, error in zip(products, errors, strict=True)
        )
        return LweCiphertext(
            reduce(first, parameters),
            reduce(second + _split_signed(numbers % parameters.plain_modulus), parameters),
        )


def add(left: LweCiphertext, right: LweCiphertext, parameters: LweParameters) -> LweCiphertext:
    """Add two ciphertexts, modulo q.

    Run by anybody.
    """
    return LweCiphertext(
        reduce(left.first + right.first, parameters), reduce(left.second + right.second, parameters)
    )


def multiply(numbers: Limbs, small: Small, parameters: LweParameters) -> Limbs:
    """Multiply numbers modulo q, (3, rows, n), with a matrix of small integers, (n, columns), modulo q."""
    rows, columns = numbers.shape[1], small.shape[1]
    wide = numbers.astype(np.float64).reshape(_LIMBS * rows, -1)
    product = np.empty((_LIMBS * rows, columns), dtype=np.int64)
    for start in range(0, columns, _COLUMNS):
        place = slice(start, start + _COLUMNS)
        product[:, place] = wide @ small[:, place].astype(np.float64)
    return reduce(product.reshape(_LIMBS, rows, columns), parameters)


def multiply_left(small: Small, numbers: Limbs, parameters: LweParameters) -> Limbs:
    """Multiply a matrix of small integers, (rows, n), with numbers modulo q, (3, n, columns), modulo q."""
    wide, rows, columns = small.astype(np.float64), len(small), numbers.shape[2]
    product = np.empty((_LIMBS, rows, columns), dtype=np.int64)
    for limb in range(_LIMBS):
        for start in range(0, columns, _COLUMNS):
            place = slice(start, start + _COLUMNS)
            product[limb, :, place] = wide @ numbers[limb, :, place].astype(np.float64)
    return reduce(product, parameters)


def reduce(limbs: Limbs, parameters: LweParameters) -> Limbs:
    """Carry limbs that may be large or negative, and leave out multiples of q."""
    carried = np.empty_like(limbs)
    carry: NDArray[np.int64] | int = 0
    for place in range(_LIMBS):
        total = limbs[place] + carry
        carried[place], carry = total & _LIMB_MASK, total >> LIMB_BITS
    carried[-1] &= parameters.top_mask
    return carried


def join(limbs: Limbs) -> list[int]:
    """Return numbers modulo q as integers, from reduced limbs, (3, count)."""
    low, high = limbs[0] | limbs[1] << LIMB_BITS, limbs[2]
    return [int(a) | int(b) << 2 * LIMB_BITS for a, b in zip(low.tolist(), high.tolist(), strict=True)]


def draw_uniform(parameters: LweParameters, count: int, stream: KeyStream) -> Limbs:
    """Draw ``count`` numbers uniform modulo q, (3, count)."""
    words = stream.draw_words(2 * count).reshape(2, count)
    limbs = np.empty((_LIMBS, count), dtype=np.int64)
    limbs[0] = words[0] & np.uint64(_LIMB_MASK)
    limbs[1] = words[0] >> np.uint64(64 - LIMB_BITS)
    limbs[2] = words[1] & np.uint64(parameters.top_mask)
    return limbs


def draw_errors(parameters: LweParameters, shape: tuple[int, ...], stream: KeyStream) -> Small:
    """Draw errors from the discrete Gaussian, by a table of its distribution in 63 bits."""
    table = _make_table(parameters.gaussian)
    drawn = stream.draw_words(math.prod(shape)) >> np.uint64(1)
    found = np.searchsorted(table, drawn, side="right")
    return (found - _TAIL).astype(np.int8).reshape(shape)


def pack(limbs: Limbs, parameters: LweParameters) -> bytes:
    """Write numbers modulo q, (3, count), in their bits, without gaps."""
    words = np.zeros((limbs.shape[1], 2), dtype="<u8")
    words[:, 0] = (limbs[0] | limbs[1] << LIMB_BITS | limbs[2] << 2 * LIMB_BITS).astype(np.uint64)
    words[:, 1] = (limbs[2] >> (64 - 2 * LIMB_BITS)).astype(np.uint64)
    bits = np.unpackbits(words.view(np.uint8).reshape(len(words), -1), axis=1, bitorder="little")
    return np.packbits(bits[:, : parameters.modulus_bits].reshape(-1), bitorder="little").tobytes()


def unpack(data: bytes | memoryview, count: int, parameters: LweParameters) -> Limbs:
    """Read ``count`` numbers that :func:`pack` wrote; every string of :func:`compute_bytes` bytes is such numbers."""
    raw = np.unpackbits(
        np.frombuffer(data, dtype=np.uint8), bitorder="little", count=count * parameters.modulus_bits
    )
    bits = np.zeros((count, 128), dtype=np.uint8)
    bits[:, : parameters.modulus_bits] = raw.reshape(count, -1)
    words = np.packbits(bits, axis=1, bitorder="little").view("<u8")  # (count, 2)
    limbs = np.empty((_LIMBS, count), dtype=np.int64)
    limbs[0] = words[:, 0] & np.uint64(_LIMB_MASK)
    limbs[1] = words[:, 0] >> np.uint64(LIMB_BITS) & np.uint64(_LIMB_MASK)
    limbs[2] = words[:, 0] >> np.uint64(2 * LIMB_BITS) | words[:, 1] << np.uint64(64 - 2 * LIMB_BITS)
    return limbs


def compute_bytes(count: int, parameters: LweParameters) -> int:
    """Compute the bytes of ``count`` packed numbers."""
    return (count * parameters.modulus_bits + 7) // 8


@cache
def _make_table(gaussian: float) -> NDArray[np.uint64]:
    """Return, for x from -TAIL on, the probability of at most x, times 2^63."""
    with localcontext(prec=60):
        pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494")
        weights = [
            (-pi * value * value / Decimal(gaussian) ** 2).exp()
            for value in (Decimal(x) for x in range(-_TAIL, _TAIL + 1))
        ]
        whole, total, table = sum(weights), Decimal(0), []
        for weight in weights[:-1]:
            total += weight
            table.append(int((total / whole * (1 << 63)).to_integral_value()))
    return np.array(table, dtype=np.uint64)


def _times_plain(errors: Small, parameters: LweParameters) -> Limbs:
    """Return p times ``errors`` as limbs that are not reduced."""
    wide = errors.astype(np.int64)
    return np.stack([wide * limb for limb in parameters.split(parameters.plain_modulus)])


def _split_signed(numbers: NDArray[np.int64]) -> Limbs:
    """Return integers of 64 bits as limbs, the last one with the sign."""
    return np.stack([numbers & _LIMB_MASK, numbers >> LIMB_BITS & _LIMB_MASK, numbers >> 2 * LIMB_BITS])
