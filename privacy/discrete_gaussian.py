"""Exact samples of the discrete Gaussian, for counts that may leave a site only with noise.

Canonne, Kamath and Steinke 2020, "The discrete Gaussian for differential privacy", algorithms 1 to 3: integers and
rational numbers only, so no floating-point rounding weakens the noise.

**Guarantee.** :func:`sample` draws from N_Z(0, sigma^2): probability of x proportional to exp(-x^2 / (2 sigma^2)).
Added to counts of which one patient changes a single one by one, it is (1/(2 sigma^2))-zCDP (their theorem 4), and
its Renyi divergence at each order is at most that of the Gaussian with the same sigma (proposition 5).
"""

import math
from fractions import Fraction

from privacy.stream import Stream


def sample(variance: Fraction, count: int, stream: Stream) -> list[int]:
    """``count`` independent integers from the discrete Gaussian with parameter sigma^2 = ``variance``.

    Time depends on the values drawn, so it must not be observable by others.

    Raises:
        ValueError: the variance is not positive.
    """
    if variance <= 0:
        raise ValueError(f"expected a positive variance, got {variance}")
    return [_gaussian(variance, stream) for _ in range(count)]


def _gaussian(variance: Fraction, stream: Stream) -> int:
    """Algorithm 3: a Laplace proposal y of scale t = floor(sigma) + 1, kept or drawn again."""
    scale = _floor_sqrt(variance) + 1
    while True:
        proposal = _laplace(scale, stream)
        if _bernoulli_exp((abs(proposal) - variance / scale) ** 2 / (2 * variance), stream):
            return proposal


def _laplace(scale: int, stream: Stream) -> int:
    """Algorithm 2 with s = 1: probability of x proportional to exp(-|x| / scale)."""
    while True:
        rest = _below(scale, stream)
        if not _bernoulli_exp(Fraction(rest, scale), stream):
            continue
        whole = 0
        while _bernoulli_exp(Fraction(1), stream):
            whole += 1
        size = rest + scale * whole
        negative = _below(2, stream) == 1
        if not (negative and size == 0):
            return -size if negative else size


def _bernoulli_exp(gamma: Fraction, stream: Stream) -> bool:
    """Algorithm 1: true with probability exp(-gamma), gamma >= 0."""
    while gamma > 1:
        if not _bernoulli_exp(Fraction(1), stream):
            return False
        gamma -= 1
    tries = 1
    while _below(gamma.denominator * tries, stream) < gamma.numerator:
        tries += 1
    return tries % 2 == 1


def _below(bound: int, stream: Stream) -> int:
    """Uniform in [0, bound) by rejection, for a bound of any size."""
    bits = (bound - 1).bit_length()
    size = (bits + 7) // 8
    while True:
        drawn = int.from_bytes(stream.bytes(size), "little") >> (8 * size - bits)
        if drawn < bound:
            return drawn


def _floor_sqrt(value: Fraction) -> int:
    """The largest integer whose square is at most ``value``."""
    return math.isqrt(value.numerator // value.denominator)
