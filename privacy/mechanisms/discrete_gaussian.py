"""Draw exact samples of the discrete Gaussian, for integers that leave a site only with noise.

>>> from privacy.mechanisms.discrete_gaussian import sample_many
>>> from privacy.randomness import KeyStream
>>> sample_many(variance=9, count=5, stream=KeyStream(bytes(32))).tolist()  # noise needs a secret key: from_os()
[-5, 0, -2, 3, 2]

Canonne, Kamath and Steinke 2020, "The discrete Gaussian for differential privacy" (arXiv 2004.00010), algorithms 1
to 3. They use integers and rational numbers only, so no floating-point rounding weakens the noise.

:func:`sample_many` draws the same distribution, many values at a time. A draw that is true with probability p
compares a uniform real u with p. The first 52 bits of u decide, unless they are within 2^-40 of p; floating point
knows p better than that. In the rare other case more bits of u are drawn and compared with p in exact arithmetic.
So the speed costs no exactness.

**Guarantee.** :func:`sample` draws from N_Z(0, sigma^2): the probability of x is proportional to exp(-x^2 / (2
sigma^2)). Where one patient changes a single count by at most one, adding it to the counts is (1/(2 sigma^2))-zCDP
(their theorem 4), and its Rényi divergence at each order is at most that of the Gaussian with the same sigma
(proposition 5).
"""

import math
from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import KeyStream

_CHUNK: Final = 1 << 20  # proposals at a time
_DOUBT: Final = 2.0**-40  # distance of u and p within which floating point does not decide


def sample(variance: Fraction, count: int, stream: KeyStream) -> list[int]:
    """Draw ``count`` independent integers from the discrete Gaussian with parameter sigma^2 = ``variance``.

    The time depends on the values drawn, so others must not be able to measure it.

    Raises:
        ValueError: the variance is not positive.
    """
    if variance <= 0:
        raise ValueError(f"expected a positive variance, got {variance}")
    return [_draw_gaussian(variance, stream) for _ in range(count)]


def sample_many(variance: int, count: int, stream: KeyStream) -> NDArray[np.int64]:
    """Draw ``count`` independent integers as :func:`sample` does, for an integer ``variance``; (count,).

    Raises:
        ValueError: the variance is not positive, or not below 2^50.
    """
    if not 0 < variance < 1 << 50:
        raise ValueError(f"expected a variance from 1 to 2^50, got {variance}")
    drawn = np.empty(count, dtype=np.int64)
    filled = 0
    while filled < count:
        proposals = _draw_accepted(variance, min(_CHUNK, 2 * (count - filled) + 64), stream)[: count - filled]
        drawn[filled : filled + len(proposals)] = proposals
        filled += len(proposals)
    return drawn


def sample_laplace_many(scale: int, count: int, stream: KeyStream) -> NDArray[np.int64]:
    """Draw ``count`` independent integers whose probability is proportional to exp(-|x| / ``scale``); (count,).

    They are exact, by algorithm 2. Added to an integer that a patient changes by D, one is D / ``scale``-DP.

    Raises:
        ValueError: the scale is not from 1 to 2^40.
    """
    if not 1 <= scale <= 1 << 40:
        raise ValueError(f"expected a scale from 1 to 2^40, got {scale}")
    drawn = np.empty(count, dtype=np.int64)
    filled = 0
    while filled < count:
        some = _draw_laplace_batch(scale, min(_CHUNK, 3 * (count - filled) + 64), stream)[: count - filled]
        drawn[filled : filled + len(some)] = some
        filled += len(some)
    return drawn


def _draw_accepted(variance: int, tries: int, stream: KeyStream) -> NDArray[np.int64]:
    """Draw at most ``tries`` Laplace proposals and return those that algorithm 3 keeps."""
    scale = math.isqrt(variance) + 1
    proposals = _draw_laplace_batch(scale, tries, stream)
    distance = np.abs(proposals).astype(np.float64) - variance / scale
    kept = _toss_coins(
        distance**2 / (2.0 * variance),
        lambda place: (abs(int(proposals[place])) - Fraction(variance, scale)) ** 2 / (2 * variance),
        stream,
    )
    return proposals[kept]


def _draw_laplace_batch(scale: int, tries: int, stream: KeyStream) -> NDArray[np.int64]:
    """Run algorithm 2 with s = 1 ``tries`` times and return the values that are not rejected."""
    rest = stream.draw_below(scale, tries).astype(np.int64)
    rest = rest[_toss_coins(rest / scale, lambda place: Fraction(int(rest[place]), scale), stream)]
    whole = np.zeros(len(rest), dtype=np.int64)
    going = np.arange(len(rest))  # the values whose geometric part still grows
    while len(going):
        going = going[_toss_coins(np.ones(len(going)), lambda place: Fraction(1), stream)]
        whole[going] += 1
    size = rest + scale * whole
    negative = stream.draw_below(2, len(size)).astype(bool)
    # minus zero is rejected, else zero would have twice its probability
    kept: NDArray[np.int64] = np.where(negative, -size, size)[~(negative & (size == 0))]
    return kept


def _toss_coins(
    gammas: NDArray[np.float64], exact: Callable[[int], Fraction], stream: KeyStream
) -> NDArray[np.bool_]:
    """Draw for each gamma >= 0 true with probability exp(-gamma), else false; (n,).

    Args:
        gammas: with a relative error of at most 2^-46; (n,).
        exact: returns the rational gamma of a place.
        stream: secret randomness.
    """
    uniforms = stream.draw_words(len(gammas)) >> np.uint64(12)  # the first 52 bits of a uniform real
    first = uniforms.astype(np.float64) * 2.0**-52
    chances = np.exp(-gammas)
    heads = first < chances
    for place in np.flatnonzero(np.abs(first - chances) < _DOUBT):
        heads[place] = _is_below_exp(int(uniforms[place]), exact(int(place)), stream)
    return heads


def _is_below_exp(first_bits: int, gamma: Fraction, stream: KeyStream) -> bool:
    """Return whether the uniform real with these first 52 bits is below exp(-gamma).

    More bits are drawn until it is decided.
    """
    bits, digits = 52, 40
    while True:
        low, high = Fraction(first_bits, 1 << bits), Fraction(first_bits + 1, 1 << bits)
        with localcontext(Context(prec=digits)):
            chance = Fraction((-Decimal(gamma.numerator) / Decimal(gamma.denominator)).exp())
        slack = Fraction(1, 10 ** (digits - 10))  # far more than the decimal arithmetic is off
        if high <= chance - slack:
            return True
        if low >= chance + slack:
            return False
        first_bits, bits, digits = (
            first_bits << 52 | int(stream.draw_words(1)[0] >> np.uint64(12)),
            bits + 52,
            digits + 20,
        )


def _draw_gaussian(variance: Fraction, stream: KeyStream) -> int:
    """Draw by algorithm 3: a Laplace proposal y of scale t = floor(sigma) + 1 is kept or drawn again."""
    scale = _compute_floor_sqrt(variance) + 1
    while True:
        proposal = _draw_laplace(scale, stream)
        if _draw_bernoulli_exp((abs(proposal) - variance / scale) ** 2 / (2 * variance), stream):
            return proposal


def _draw_laplace(scale: int, stream: KeyStream) -> int:
    """Draw by algorithm 2 with s = 1: the probability of x is proportional to exp(-|x| / scale)."""
    while True:
        rest = _draw_below(scale, stream)
        if not _draw_bernoulli_exp(Fraction(rest, scale), stream):
            continue
        whole = 0
        while _draw_bernoulli_exp(Fraction(1), stream):
            whole += 1
        size = rest + scale * whole
        negative = _draw_below(2, stream) == 1
        if not (negative and size == 0):  # else zero would have twice its probability
            return -size if negative else size


def _draw_bernoulli_exp(gamma: Fraction, stream: KeyStream) -> bool:
    """Draw by algorithm 1: true with probability exp(-gamma), gamma >= 0."""
    while gamma > 1:  # exp(-gamma) = exp(-1) * exp(-(gamma - 1))
        if not _draw_bernoulli_exp(Fraction(1), stream):
            return False
        gamma -= 1
    tries = 1
    while _draw_below(gamma.denominator * tries, stream) < gamma.numerator:
        tries += 1
    return tries % 2 == 1


def _draw_below(bound: int, stream: KeyStream) -> int:
    """Draw uniformly from [0, bound) by rejection, for a bound of any size."""
    bits = (bound - 1).bit_length()
    size = (bits + 7) // 8
    while True:
        drawn = int.from_bytes(stream.draw_bytes(size), "little") >> (8 * size - bits)
        if drawn < bound:
            return drawn


def _compute_floor_sqrt(value: Fraction) -> int:
    """Return the largest integer whose square is at most ``value``."""
    return math.isqrt(value.numerator // value.denominator)
