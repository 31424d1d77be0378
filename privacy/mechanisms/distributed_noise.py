"""Make integer shares of noise at the sites of a cohort, whose sum has the noise of one central mechanism.

>>> import numpy as np
>>> from privacy.mechanisms.distributed_noise import SharedNoise, decode_opened_sum, make_noised_share
>>> from privacy.randomness import KeyStream
>>> noise = SharedNoise(
...     clipping_norm=1.0, noise_multiplier=1.0, parameters=3, bits=16, value_range=40.0, colluders=1
... )
>>> variance = noise.compute_share_variance(cohort=3)
>>> own_sum = np.array([1.0, 0.0, -2.0])  # here the same at each site
>>> streams = [KeyStream(bytes([site]) * 32) for site in range(3)]  # noise needs secret keys: from_os()
>>> shares = [make_noised_share(own_sum, noise, variance, stream) for stream in streams]
>>> decode_opened_sum(np.sum(shares, axis=0, dtype=np.int64), noise).round(2).tolist()  # [3, 0, -6] with noise
[5.36, -1.45, -4.97]

In a step every site sums its sampled patients' clipped gradients, rounds the sum to a grid of unit gamma and adds
its share of discrete Gaussian noise. Every site sees the sum of all shares, and sealing hides each single one.
Whole updates of sites (``privacy/mechanisms/site_clipping.py``) are rounded and noised in the same way.

Rules:

* The grid follows from the terms and from public patient counts: gamma = 2 R C / 2^bits. R (``value_range``, in
  clipping norms) holds the largest sum in one coordinate and the noise (``privacy/mechanisms/value_range.py``).
* Nothing saturates: values wrap modulo 2^bits, which commutes with the sum. There is no error feedback. Both would
  break the proof: saturation weakens the noise, error feedback keeps what earlier patients left.
* R may differ from round to round. Each step's curve depends on sigma alone, since Delta is counted on the step's
  own grid. A range that is too small makes the sum useless and weakens no privacy. So it is refused where it surely
  cannot hold the sum, and a sum that has values at its edge is marked (:func:`count_values_at_edge`). With a range
  that holds, a mark has a chance of at most 1e-6 a round (2e-4 above 10^9 parameters), by the union bound over
  coordinates.
* Rounding is stochastic with one dither a coordinate. So one patient moves a site's integers by a vector of length
  at most Delta = C/gamma + sqrt(d) (coupling by the dither).
* A colluding site knows its own share. So the shares of any cohort of m without ``colluders`` of them add up to the
  promised noise: each has variance (sigma Delta)^2 / (m - colluders), in squared grid units, rounded up.
* A share has at least 3 grid units of standard deviation, so that a sum of discrete Gaussians is a discrete
  Gaussian to within 1e-30.
* When sites drop out, the sites of the smaller cohort add noise to their shares. Noise is never taken away.

**Guarantee.** With Poisson sampling at rate q, one step has at every integer order the Rényi curve of the sampled
Gaussian mechanism with noise multiplier sigma, against up to ``colluders`` insiders; ``docs/privacy.md`` has the
proof. An outsider sees sigma * sqrt(m / (m - colluders)).

Sources: Kairouz, Liu and Steinke 2021 (arXiv 2102.06387) for sums of discrete Gaussians; Canonne, Kamath and
Steinke 2020 (arXiv 2004.00010); Mironov, Talwar and Zhang 2019 (arXiv 1908.10530) for the sampled curve.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.mechanisms.discrete_gaussian import sample_many
from privacy.mechanisms.value_range import TAIL, compute_range_of_sums, round_up
from privacy.randomness import KeyStream

LEAST_VARIANCE: Final = 9
"""Of one share, in squared grid units: three units of standard deviation."""
MOST_INFLATION: Final = 2.0
"""How many times as large rounding may make the noise. Beyond that the grid makes a study useless."""
_FALSE_MARKS: Final = 1e-6  # chance a round that a sum is marked although its range holds
_LEAST_EDGE: Final = 0.5
"""Width of the edge in which values are counted, in standard deviations of the noise."""


@dataclass(frozen=True)
class SharedNoise:
    """Public numbers of a study with distributed noise, over patients' gradients or over whole sites' updates.

    Attributes:
        clipping_norm: C.
        noise_multiplier: sigma, over what one patient can change after rounding.
        parameters: d.
        bits: of one value; values wrap modulo 2^bits.
        value_range: R, the largest sum in one coordinate, in clipping norms.
        colluders: insiders whose shares do not count, since they know them.
        largest_sum: the most that all sites together can reach in one coordinate, in clipping norms; 0: not known.
        usual_sum: what they reach if every patient of lots of the expected size points the same way; at most
            ``largest_sum``.
        minimum: sites of the smallest cohort, whose noise is the largest; None: the fewest possible.
    """

    clipping_norm: float
    noise_multiplier: float
    parameters: int
    bits: int
    value_range: float
    colluders: int
    largest_sum: float = 0.0
    usual_sum: float = 0.0
    minimum: int | None = None

    @property
    def unit(self) -> float:
        """gamma, the grid's unit."""
        return 2 * self.value_range * self.clipping_norm / (1 << self.bits)

    @property
    def sensitivity(self) -> float:
        """Delta: how far one patient can move the sum of integers, in grid units."""
        return (1 << self.bits) / (2 * self.value_range) + math.sqrt(self.parameters)

    @property
    def inflation(self) -> float:
        """How much more noise there is than without rounding: Delta gamma / C."""
        return self.sensitivity * self.unit / self.clipping_norm

    def compute_share_variance(self, cohort: int) -> int:
        """Return the variance of one site's share in a cohort of so many sites, in squared grid units, rounded up.

        Raises:
            ValueError: the cohort has fewer than two sites beside the colluders.
        """
        if cohort < self.colluders + 2:
            raise ValueError(f"expected a cohort of at least {self.colluders + 2} sites, got {cohort}")
        total = (Fraction(self.noise_multiplier) * Fraction(self.sensitivity)) ** 2
        return max(LEAST_VARIANCE, math.ceil(total / (cohort - self.colluders)))

    def compute_outsider_multiplier(self, cohort: int) -> float:
        """Return the noise multiplier against outsiders, who know no share."""
        return self.noise_multiplier * math.sqrt(cohort / (cohort - self.colluders))

    @property
    def deviation(self) -> float:
        """Standard deviation of a sum's noise before rounding, in the smallest cohort, in clipping norms."""
        return self.compute_outsider_multiplier(self.colluders + 2 if self.minimum is None else self.minimum)

    @property
    def needed_range(self) -> float:
        """The least ``value_range`` that surely holds the noise, and the largest sum where that is known."""
        return compute_range_of_sums(self.largest_sum, self.deviation, self.parameters, self.bits)

    @property
    def least_range(self) -> float:
        """A ``value_range`` below this surely does not hold the noise, and the usual sum where that is known."""
        return compute_range_of_sums(self.usual_sum, self.deviation, self.parameters, self.bits)

    @property
    def sum_held(self) -> float:
        """The largest sum that fits into the range with the noise; negative where the noise alone does not fit."""
        return self.value_range - TAIL * self.deviation * self.inflation

    def fit_range(self) -> "SharedNoise":
        """Return the same numbers with a range that holds the sum and the noise, or any range where none does."""
        needed = self.needed_range
        fitting = needed if math.isfinite(needed) else self.largest_sum + TAIL * self.deviation
        return replace(self, value_range=round_up(fitting))

    def describe_problem(self, cohort: int) -> str | None:
        """Describe why so many sites cannot use these numbers, and what to write instead; None if they can."""
        exact = (self.noise_multiplier * self.sensitivity) ** 2 / (cohort - self.colluders)
        if exact < LEAST_VARIANCE:
            return (
                f"one site's share of the noise is {math.sqrt(exact):.2f} grid units among {cohort} sites, expected at "
                f"least 3: {self._suggest_more_bits(cohort)}"
            )
        if self.inflation > MOST_INFLATION or math.isinf(self.least_range):
            return (
                f"rounding to secure_aggregation.bits {self.bits} over a value_range of {self.value_range:g} makes "
                f"the noise {self.inflation:.2g} times as large: {self._suggest_more_bits(cohort)}"
            )
        if self.value_range < self.least_range:
            return (
                f"secure_aggregation.value_range is {self.value_range:g} clipping norms, the noise "
                f"{'and the sum need' if self.largest_sum else 'alone needs'} {_format_figure(self.needed_range)}: "
                f"sums would wrap around; write secure_aggregation.value_range: auto, or at least "
                f"{round_up(self.needed_range):g}"
            )
        return None

    def propose_bits(self, cohort: int | None = None) -> int:
        """Return the fewest bits with which rounding adds at most 2 per cent of noise; at most 24.

        For a given ``cohort`` a site's share of the noise is then large enough too.
        """
        for bits in range(8, 24):
            exact = (1 << bits) / (2 * self.value_range)
            least = 0.0 if cohort is None else math.sqrt(LEAST_VARIANCE * (cohort - self.colluders))
            if math.sqrt(self.parameters) <= 0.02 * exact and self.noise_multiplier * exact >= least:
                return bits
        return 24

    def _suggest_more_bits(self, cohort: int) -> str:
        proposed = self.propose_bits(cohort)
        if proposed > self.bits:
            return f"use more secure_aggregation.bits: write {proposed}"
        return "no secure_aggregation.bits are enough; use a smaller model, smaller lots or local noise"


def make_noised_share(
    total: NDArray[np.float64], noise: SharedNoise, variance: int, stream: KeyStream
) -> NDArray[np.uint32]:
    """Make a site's share of a step: its clipped sum, rounded, noised and wrapped.

    Run by a site.

    Args:
        total: (d,) the sum of its sampled patients' clipped gradients, without noise.
        noise: the study's numbers.
        variance: of the noise, in squared grid units.
        stream: secret randomness.

    Returns:
        (d,) integers below 2^bits.
    """
    # stochastic rounding: floor(x + u) with u uniform in (0, 1) has mean x
    rounded = np.floor(total / noise.unit + stream.draw_uniform(len(total))).astype(np.int64)
    return _wrap_integers(rounded + sample_many(variance, len(total), stream), noise.bits)


def add_noise_to_share(
    integers: NDArray[np.uint32], noise: SharedNoise, more: int, stream: KeyStream
) -> NDArray[np.uint32]:
    """Add noise of variance ``more``, at least :data:`LEAST_VARIANCE`, to a site's share; (d,).

    Run by a site.
    """
    return _wrap_integers(integers.astype(np.int64) + sample_many(more, len(integers), stream), noise.bits)


def decode_opened_sum(total: NDArray[np.int64], noise: SharedNoise) -> NDArray[np.float64]:
    """Return the cohort's noised sum of clipped gradients, from the opened ``total`` of wrapped integers; (d,)."""
    half, modulus = 1 << (noise.bits - 1), 1 << noise.bits
    # unwrap: the representative in [-half, half) is the sum wherever the range holds it
    return ((total + half) % modulus - half).astype(np.float64) * noise.unit


def _format_figure(value: float) -> str:
    """Write ``value`` with three digits, or with all digits before the point."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def count_values_at_edge(total: NDArray[np.int64], noise: SharedNoise, cohort: int) -> int:
    """Count the coordinates of an opened ``total``, (d,), at the edge of the range, which a sum that fits avoids.

    A range that holds leaves :data:`~privacy.mechanisms.value_range.TAIL` deviations of noise beyond the largest
    sum. The edge is as wide as the chance of false marks allows. Sums that wrap around lie anywhere, so also at the
    edge. The count is computed from the noised sum alone, so it is post-processing.
    """
    half, modulus = 1 << (noise.bits - 1), 1 << noise.bits
    deviation = math.sqrt(cohort * noise.compute_share_variance(cohort))
    width = max(_LEAST_EDGE, TAIL + NormalDist().inv_cdf(_FALSE_MARKS / (2 * max(1, len(total)))))
    values = np.abs((total + half) % modulus - half)
    return int(np.count_nonzero(values >= half - width * deviation))


def _wrap_integers(values: NDArray[np.int64], bits: int) -> NDArray[np.uint32]:
    return (values & ((1 << bits) - 1)).astype(np.uint32)
