"""Compute the price of integer noise that many parties add: distributed discrete Gaussian, and Skellam.

*For comparison*: the platform's own shares are those of ``privacy/mechanisms/distributed_noise.py``, which adds
discrete Gaussians with at least 3 units of noise each, and is charged as in :mod:`privacy.accounting.events`. This
module has the published bounds, for any share, and for noise that is Skellam.

Rules:

* sensitivities D1 and D2, in the L1 and the L2 norm, are of the rounded integers, and noise is in their unit;
* rounding a vector of length c lengthens it: by at most sqrt(d) / 2, with certainty c + sqrt(d) as the paper states it;
  or it is rounded again until it is short enough, which it is with a chance of at least 1 - beta;
* a sum of discrete Gaussians is not one: tau bounds how far it is off. With a share of less than about one unit tau is
  large, and there is no privacy worth the name;
* a difference of two Poisson variables of mean mu / 2 is Skellam with variance mu; sums are Skellam again, exactly.

>>> round(bound_rounded_norm(100, 1024, beta=math.exp(-0.5)), 4), bound_rounded_norm(100, 1024, beta=0)
(101.843, 132.0)

Sources: Kairouz, Liu and Steinke 2021 (arXiv 2102.06387); Agarwal, Kairouz and Liu
2021, The Skellam mechanism (arXiv 2110.04995).
"""

import math


def bound_rounded_norm(norm: float, length: int, beta: float) -> float:
    """Return the length that a vector of ``norm`` and ``length`` values has after randomised rounding to integers.

    Args:
        norm: before rounding, in units.
        length: d.
        beta: the chance, at most, that one rounding is longer and is repeated; 0 never repeats.
    """
    certain = norm + math.sqrt(length)
    if beta == 0:
        return certain
    spread = math.sqrt(2 * math.log(1 / beta)) * (norm + math.sqrt(length) / 2)
    return min(certain, math.sqrt(norm**2 + length / 4 + spread))


def compute_sum_error(parties: int, share: float) -> float:
    """Return tau: how far the sum of ``parties`` discrete Gaussians of deviation ``share`` is from being one."""
    return 10 * math.fsum(math.exp(-2 * math.pi**2 * share**2 * k / (k + 1)) for k in range(1, parties))


def compute_distributed_gaussian_divergence(
    order: float, l2: float, l1: float, length: int, parties: int, share: float
) -> float:
    """Bound the Rényi divergence of a sum with the noise of ``parties`` discrete Gaussians of deviation ``share``.

    *Guarantee*: for one vector of totals whose neighbours differ by at most ``l1`` and ``l2``.

    *Privacy unit*: that of the sensitivities.

    *Edge cases*: one party has tau 0, and the bound is the Gaussian's.
    """
    tau, ratio = compute_sum_error(parties, share), l2 / (math.sqrt(parties) * share)
    per_value = l1 / (math.sqrt(parties) * share)
    return min(
        order / 2 * ratio**2 + tau * length,
        order / 2 * (ratio**2 + 2 * per_value * tau + tau**2 * length),
        order / 2 * (ratio + math.sqrt(length) * tau) ** 2,
    )


def compute_skellam_divergence(order: int, l2: float, l1: float, variance: float) -> float:
    """Bound the Rényi divergence of totals with Skellam noise of ``variance`` in all.

    *Guarantee*, *privacy unit*: as for :func:`compute_distributed_gaussian_divergence`.

    *Edge cases*: never below the Gaussian of the same variance, and soon as good.
    """
    gaussian = order * l2**2 / (2 * variance)
    return gaussian + min(((2 * order - 1) * l2**2 + 6 * l1) / (4 * variance**2), 3 * l1 / (2 * variance))
