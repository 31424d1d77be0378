"""Add the noise on totals in shares: the sum over a cohort has the noise of one mechanism, no single site's share has.

Totals are integers, so nothing is rounded here. One patient's change in them is bounded for each group of cells, and
all groups together are one Gaussian mechanism (``privacy/study/tasks/task.py``).

Rules:

* a colluding site knows its own share. So the shares of any cohort without ``colluders`` of its sites add up to the
  promised noise: each share has the variance sigma^2 G D_g^2 / honest, rounded up, where ``honest`` is the number of
  sites in the cohort less the colluders;
* a share has at least 3 units of standard deviation in each cell, so that a sum of discrete Gaussians is a discrete
  Gaussian to within 1e-30;
* a smaller cohort needs larger shares: noise is added to what was counted, and never taken away;
* a share is sealed whole. One that is cut to the range of a total has lost a part of its noise, which the other shares
  then lack: the sum of cut shares is not made of the sum of whole ones. So the range must hold each share
  (:func:`compute_largest_count`).

**Guarantee.** Against an observer who knows ``colluders`` of the shares, opened totals cost a patient what one Gaussian
with noise multiplier sigma costs. The unit is the patient.

Sources: Kairouz, Liu and Steinke 2021 (arXiv 2102.06387) for sums of discrete Gaussians; Canonne, Kamath and Steinke
2020 (arXiv 2004.00010).
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from privacy.mechanisms.discrete_gaussian import sample
from privacy.mechanisms.distributed_noise import LEAST_VARIANCE
from privacy.randomness import KeyStream
from privacy.study.tasks.statistics import UNIT

LARGEST_TOTAL: Final = (1 << 31) - 1
"""Of one site (``privacy/secure_aggregation/layout.py``); the least is one less than its negative."""
_DEVIATIONS: Final = 12  # of a Gaussian beyond which lies less than 1e-32


def compute_share_variances(squared_scales: Sequence[int], noise_multiplier: float, honest: int) -> tuple[int, ...]:
    """Compute the variance of one site's share in each cell; (cells,).

    Args:
        squared_scales: of each cell, the variance of its noise over that of the noise multiplier; (cells,).
        noise_multiplier: sigma.
        honest: sites of the cohort less the colluders.

    Raises:
        ValueError: no site is honest.
    """
    if honest < 1:
        raise ValueError(f"expected at least one honest site, got {honest}")
    squared = Fraction(noise_multiplier) ** 2
    return tuple(max(LEAST_VARIANCE, math.ceil(squared * scale / honest)) for scale in squared_scales)


def compute_largest_count(variances: Sequence[int]) -> int:
    """Compute up to which count a sealed total holds a share whole, with noise of these variances; (cells,).

    It is negative where the noise alone does not fit.
    """
    return LARGEST_TOTAL - _DEVIATIONS * (math.isqrt(max(variances)) + 1)


def compute_most_counted_patients(variances: Sequence[int]) -> int:
    """Compute how many training patients a site may have in a study of statistics: as many again may only test."""
    return compute_largest_count(variances) // (2 * UNIT)


def add_noise_to_totals(totals: Sequence[int], variances: Sequence[int], stream: KeyStream) -> tuple[int, ...]:
    """Add to each of ``totals`` an exact discrete Gaussian of its variance; (cells,).

    Run by a site.
    """
    return tuple(
        int(total) + sample(Fraction(variance), 1, stream)[0]
        for total, variance in zip(totals, variances, strict=True)
    )


def compute_added_variances(held: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    """Compute the variance of the noise to be added in each cell of a share that has ``held``; (cells,)."""
    # never less than a sum of discrete Gaussians needs of each
    return tuple(max(LEAST_VARIANCE, more - less) for less, more in zip(held, wanted, strict=True))
