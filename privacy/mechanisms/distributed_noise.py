"""Noise that a cohort adds together: integer shares whose sum is one central mechanism's noise.

In a step every site sums its sampled patients' clipped gradients, rounds the sum to a grid of unit gamma and adds its
share of discrete Gaussian noise; the shares' sum reaches everybody, no lone share does (sealing). Whole updates of
sites (``privacy/mechanisms/site_clipping.py``) are rounded and noised in the same way.

Rules:

* the grid follows from the terms and from public patient counts: gamma = 2 R C / 2^bits, where R (``value_range``)
  holds the largest sum in one coordinate, in clipping norms, and the noise
  (``privacy/mechanisms/value_range.py``). Nothing saturates: values wrap modulo 2^bits, which commutes with
  the sum, and there is no error feedback: both would break the proof (one weakens the noise, the other remembers
  patients);
* R may differ from round to round: each step's curve depends on sigma alone, since Delta is counted on the step's own
  grid. Too small an R ruins the sum and weakens nothing. So it is refused where it surely cannot hold, and a sum that
  has values at its edge is marked (:func:`count_values_at_edge`): with a range that holds, such a mark comes with a
  chance of at most 1e-6 a round (2e-4 above 10^9 parameters), by the union bound over coordinates;
* rounding is stochastic with one dither a coordinate, so one patient moves a site's integers by a vector of length at
  most Delta = C/gamma + sqrt(d) (coupling by the dither);
* a site that conspires knows its own share. So the shares of any cohort of m less ``colluders`` add up to the noise
  that is promised: each has variance (sigma Delta)^2 / (m - colluders), in grid units, rounded up;
* a share has at least 3 grid units of standard deviation, so that a sum of discrete Gaussians is one, to within 1e-30;
* survivors of a smaller cohort top their share up; noise is never taken away.

**Guarantee.** With Poisson sampling at rate q, one step has the Renyi curve of the sampled Gaussian mechanism with
noise multiplier sigma at every integer order, against up to ``colluders`` insiders; ``docs/privacy.md`` has the
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
"""Of one share, in grid units: three units of standard deviation."""
MOST_INFLATION: Final = 2.0
"""How many times as large rounding may make the noise: beyond, a study is ruined by its own grid."""
_FALSE_MARKS: Final = 1e-6
_LEAST_EDGE: Final = 0.5
"""Width of the edge in which values are counted, in standard deviations of the noise."""


@dataclass(frozen=True)
class SharedNoise:
    """The public numbers of a distributed study, over patients' gradients or over whole sites' updates.

    Attributes:
        clipping_norm: C.
        noise_multiplier: sigma, over what one patient can change after rounding.
        parameters: d.
        bits: of one value.
        value_range: R, the largest sum in one coordinate, in clipping norms.
        colluders: insiders whose shares do not count.
        largest_sum: the most that all sites together can reach in one coordinate, in clipping norms, where it is known.
        usual_sum: what they reach if every patient of lots of the expected size points the same way; at most
            ``largest_sum``.
        minimum: sites of the smallest cohort, whose noise is the largest; None: as few as there can be.
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
        """Variance of one site's share in a cohort of so many sites, in grid units, rounded up.

        Raises:
            ValueError: the cohort is too small to have honest sites beside the colluders and one more.
        """
        if cohort < self.colluders + 2:
            raise ValueError(f"expected a cohort of at least {self.colluders + 2} sites, got {cohort}")
        total = (Fraction(self.noise_multiplier) * Fraction(self.sensitivity)) ** 2
        return max(LEAST_VARIANCE, math.ceil(total / (cohort - self.colluders)))

    def compute_outsider_multiplier(self, cohort: int) -> float:
        """The noise multiplier that somebody sees who takes no part."""
        return self.noise_multiplier * math.sqrt(cohort / (cohort - self.colluders))

    @property
    def deviation(self) -> float:
        """Standard deviation of a sum's noise before rounding, in the smallest cohort, in clipping norms."""
        return self.compute_outsider_multiplier(self.colluders + 2 if self.minimum is None else self.minimum)

    @property
    def needed_range(self) -> float:
        """The least ``value_range`` that surely holds the noise, beside the largest sum where that is known."""
        return compute_range_of_sums(self.largest_sum, self.deviation, self.parameters, self.bits)

    @property
    def least_range(self) -> float:
        """Below it the noise, beside the usual sum where that is known, surely does not fit."""
        return compute_range_of_sums(self.usual_sum, self.deviation, self.parameters, self.bits)

    @property
    def sum_held(self) -> float:
        """The largest sum that fits into the range beside the noise; negative where the noise alone does not fit."""
        return self.value_range - TAIL * self.deviation * self.inflation

    def fit_range(self) -> "SharedNoise":
        """Return the same numbers with a range that holds the sum, or any range where none does."""
        needed = self.needed_range
        fitting = needed if math.isfinite(needed) else self.largest_sum + TAIL * self.deviation
        return replace(self, value_range=round_up(fitting))

    def describe_problem(self, cohort: int) -> str | None:
        """Why a cohort of so many sites cannot use these numbers, if it cannot; with the numbers to write instead."""
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
        """The least bits with which rounding costs at most 2 per cent of noise; at most 24.

        In a ``cohort`` that is named, a site's share of the noise is then large enough as well.
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
    """Run by a site. Its share of a step: the clipped sum ``total``, (d,), rounded, noised and wrapped.

    Args:
        total: the sum of its sampled patients' clipped gradients, without noise.
        noise: the study's numbers.
        variance: of the noise, in grid units.
        stream: secret randomness.

    Returns:
        (d,) integers below 2^bits.
    """
    rounded = np.floor(total / noise.unit + stream.draw_uniform(len(total))).astype(np.int64)
    return _wrap_integers(rounded + sample_many(variance, len(total), stream), noise.bits)


def add_noise_to_share(
    integers: NDArray[np.uint32], noise: SharedNoise, more: int, stream: KeyStream
) -> NDArray[np.uint32]:
    """Run by a site. A share with ``more`` variance, which is at least :data:`LEAST_VARIANCE`; (d,)."""
    return _wrap_integers(integers.astype(np.int64) + sample_many(more, len(integers), stream), noise.bits)


def decode_opened_sum(total: NDArray[np.int64], noise: SharedNoise) -> NDArray[np.float64]:
    """The cohort's noised sum of clipped gradients, from the opened ``total`` of wrapped integers; (d,)."""
    half, modulus = 1 << (noise.bits - 1), 1 << noise.bits
    return ((total + half) % modulus - half).astype(np.float64) * noise.unit


def _format_figure(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def count_values_at_edge(total: NDArray[np.int64], noise: SharedNoise, cohort: int) -> int:
    """How many coordinates of an opened ``total``, (d,), lie where a sum that fits the range does not come.

    A range that holds leaves :data:`~privacy.mechanisms.value_range.TAIL` deviations of noise beyond the
    largest sum. The edge is as wide as false marks allow; sums that wrap around come to lie anywhere, and so in it.
    Computed from the noised sum alone: post-processing.
    """
    half, modulus = 1 << (noise.bits - 1), 1 << noise.bits
    deviation = math.sqrt(cohort * noise.compute_share_variance(cohort))
    width = max(_LEAST_EDGE, TAIL + NormalDist().inv_cdf(_FALSE_MARKS / (2 * max(1, len(total)))))
    values = np.abs((total + half) % modulus - half)
    return int(np.count_nonzero(values >= half - width * deviation))


def _wrap_integers(values: NDArray[np.int64], bits: int) -> NDArray[np.uint32]:
    return (values & ((1 << bits) - 1)).astype(np.uint32)
