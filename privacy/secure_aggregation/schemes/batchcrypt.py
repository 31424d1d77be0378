"""Quantise gradients and pack them in batches for additive encryption (Zhang et al. 2020, BatchCrypt).

::

    one value     | 2 sign bits | bits - 1 of magnitude |   the lowest bits + 1 of a two's complement
    one slot      | padding     | one value             |   ceil(log2 sites) bits of zeros
    one plaintext | slot k | ... | slot 1 | slot 0 |        the first value in the lowest bits

Rules:

* A layer is cut at alpha and rounded at random, right on average, with as many steps below zero as above. Zero stays
  zero. One site's largest value is a share of the largest sum, so that no sum of all sites is beyond it but by
  rounding.
* Carries of negative values go into the padding, which is not read. Up to 2^padding vectors no slot reaches the next.
* The 2 sign bits of a sum are equal unless it overflowed: 01 and 10 saturate. **They see a sum up to twice the
  largest value, no further**: four of the largest read as -4, and no padding tells (the same slot is -4 and three
  zeros). That is why a site's values are a share.
* alpha is where clipping and rounding cost least together (dACIQ): a coefficient, which depends on the bits and on
  whether values look Gaussian or Laplacian, times a deviation that is estimated from the range.

**Guarantee.** None of its own: batches are encrypted by another module
(:mod:`privacy.secure_aggregation.schemes.paillier`), under one key that all sites hold. alpha must be equal at all
sites *before* they encrypt, for which each tells the range of each of its layers in the clear: a largest and a
smallest gradient of a single site.

**Edge cases.** No values make no batch. Values that are all equal have no range, and no alpha.

Sources: Zhang, Li, Xia, Wang, Yan and Liu 2020, USENIX ATC, and their code (marcoszh/BatchCrypt); Banner, Nahshan and
Soudry 2019, "Post training 4-bit quantization of convolutional networks for rapid-deployment" (ACIQ).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import KeyStream

_RANGE_FACTOR: Final = 0.5 * 0.35 * (1 + math.sqrt(math.pi * math.log(4)))  # ACIQ's code


class Shape(StrEnum):
    """What a layer's gradients look like."""

    GAUSSIAN = "gaussian"
    LAPLACE = "laplace"


@dataclass(frozen=True)
class Batching:
    """How values become slots of a plaintext.

    Args:
        bits: of one value with one sign bit.
        sites: most vectors that are ever added.
        plaintext_bits: of the encryption's plaintexts.
    """

    bits: int = 16
    sites: int = 8
    plaintext_bits: int = 2047

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 32 or self.sites < 1 or self.plaintext_bits < self.width:
            raise ValueError(f"expected 2 to 32 bits, a site, and room for a slot; got {self}")

    @property
    def padding(self) -> int:
        """Bits above a value into which sums may carry."""
        return (self.sites - 1).bit_length()

    @property
    def width(self) -> int:
        """Bits of a slot."""
        return self.padding + self.bits + 1

    @property
    def per_plaintext(self) -> int:
        """Values in one plaintext."""
        return self.plaintext_bits // self.width

    @property
    def largest(self) -> int:
        """The largest sum; the least one is its negative."""
        return (1 << (self.bits - 1)) - 1

    def count_plaintexts(self, values: int) -> int:
        """Return the plaintexts of so many values."""
        return -(-values // self.per_plaintext)


def quantise(values: NDArray[np.float64], alpha: float, batching: Batching, stream: KeyStream) -> NDArray[np.int64]:
    """Cut values at ``alpha`` and round them at random to integers, a site's share of the largest sum at most.

    Run by a site.

    Raises:
        ValueError: alpha is not positive, or a value is no number.
    """
    if not alpha > 0 or not np.all(np.isfinite(values)):
        raise ValueError("expected a positive alpha and finite values")
    scaled = np.clip(values, -alpha, alpha) * (batching.largest / (alpha * batching.sites))
    floor = np.floor(scaled)
    return (floor + (stream.draw_uniform(len(values)) < scaled - floor)).astype(np.int64)


def restore(sums: NDArray[np.int64], alpha: float, batching: Batching) -> NDArray[np.float64]:
    """Turn sums of quantised integers into sums of values."""
    return sums.astype(np.float64) * (alpha * batching.sites / batching.largest)


def encode(integers: Sequence[int], batching: Batching) -> list[int]:
    """Pack integers with signs into plaintexts.

    Run by a site.

    Raises:
        ValueError: an integer has more bits than a value.
    """
    if any(abs(integer) > batching.largest for integer in integers):
        raise ValueError(f"a value has more than {batching.bits} bits with its sign")
    mask, packed = (1 << (batching.bits + 1)) - 1, []
    for start in range(0, len(integers), batching.per_plaintext):
        number = 0
        for integer in reversed(integers[start : start + batching.per_plaintext]):
            number = number << batching.width | integer & mask
        packed.append(number)
    return packed


def decode(plaintexts: Sequence[int], count: int, batching: Batching) -> NDArray[np.int64]:
    """Read the sums of ``count`` values, cut at the largest.

    Run by a site. Right for sums in [-2^bits, 2^bits), as quantised values always have, and wrong without notice for
    others.
    """
    mask, sums = (1 << (batching.bits + 1)) - 1, []
    for number in plaintexts:
        for place in range(batching.per_plaintext):
            low = number >> place * batching.width & mask
            sums.append(low - (mask + 1) if low >> batching.bits else low)
    return np.clip(np.array(sums[:count], dtype=np.int64), -batching.largest, batching.largest)


def estimate_deviation(lowest: float, highest: float, values: int) -> float:
    """Estimate the standard deviation of ``values`` Gaussian gradients from their range.

    Raises:
        ValueError: fewer than two values, or they have no range.
    """
    if values < 2 or not highest > lowest:
        raise ValueError("expected at least two values that are not all equal")
    return (highest - lowest) * _RANGE_FACTOR / math.sqrt(2 * math.log(values))


def compute_clipping(lowest: float, highest: float, values: int, bits: int) -> float:
    """Compute alpha of a layer of Gaussian gradients from public numbers, the same at every site.

    Raises:
        ValueError: as :func:`estimate_deviation`.
    """
    return compute_coefficient(bits, Shape.GAUSSIAN) * estimate_deviation(lowest, highest, values)


@cache
def compute_coefficient(bits: int, shape: Shape) -> float:
    """Compute alpha by the deviation (Gaussian), or by the scale (Laplace), at which the expected error is least.

    Clipping costs the variance beyond alpha; rounding at random to 2^bits - 2 steps costs 2 alpha^2 (2^bits - 2) / (3
    2^(3 bits)), as the paper's distortion has it. Both derivatives cancel at one place, found by bisection.
    """
    rounding = 4 * (2.0**bits - 2) / (3 * 8.0**bits)  # of the derivative, by alpha
    low, high = 0.0, 64.0
    for _ in range(200):
        middle = (low + high) / 2
        if rounding * middle < _compute_clipping_slope(middle, shape):
            low = middle
        else:
            high = middle
    return low


def _compute_clipping_slope(alpha: float, shape: Shape) -> float:
    """Return by how much the clipping error falls as alpha grows: 2 E max(|x| - alpha, 0)."""
    if shape is Shape.LAPLACE:
        return 2 * math.exp(-alpha)
    density = math.exp(-alpha * alpha / 2) / math.sqrt(2 * math.pi)
    return 4 * (density - alpha * math.erfc(alpha / math.sqrt(2)) / 2)
