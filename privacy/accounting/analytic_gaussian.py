"""Compute the least Gaussian noise for (epsilon, delta): the analytic Gaussian mechanism.

*For comparison, and for releases without sampling*: what a ledger charges is in :mod:`privacy.accounting.epsilon`.
Noise of this module, charged there, costs a little more than its own epsilon, because a Rényi curve is not exact.

Rules:

* one release with noise s over its sensitivity is (epsilon, delta)-DP exactly if Phi(1/2s - epsilon s) - exp(epsilon)
  Phi(-1/2s - epsilon s) <= delta (theorem 8 of the paper);
* ``count`` releases of equal noise are one release with noise s / sqrt(count): their losses are normal, and add. So the
  noise for all of them is exact too, if their number is fixed in advance;
* noise is rounded up to a millionth, and then known to suffice.

>>> compute_analytic_noise(epsilon=1.0, delta=1e-5)
3.730632

Source: Balle and Wang 2018, Improving the Gaussian mechanism for differential privacy (arXiv 1805.06530).
"""

import math
from typing import Final

from scipy.special import log_ndtr

from privacy.errors import BudgetError

_GRID: Final = 10**6
_MOST: Final = 10**12  # a noise multiplier of a million


def compute_gaussian_delta(noise: float, epsilon: float) -> float:
    """Return the least delta at which one Gaussian release is (``epsilon``, delta)-DP.

    Args:
        noise: standard deviation over the sensitivity.
        epsilon: at least 0.
    """
    half, away = 0.5 / noise, epsilon * noise
    first = float(log_ndtr(half - away))
    second = epsilon + float(log_ndtr(-half - away))
    # exp(first) - exp(second), without the loss of digits where both are small
    return max(0.0, -math.exp(first) * math.expm1(second - first)) if second < first else 0.0


def compute_gaussian_epsilon(noise: float, delta: float) -> float:
    """Return the least epsilon at which one Gaussian release is (epsilon, ``delta``)-DP, up to 1e-9.

    It is the epsilon of Gaussian differential privacy with mu = 1 / ``noise`` (Dong, Roth and Su 2022, corollary 1).

    Args:
        noise: standard deviation over the sensitivity.
        delta: between 0 and 1.
    """
    if compute_gaussian_delta(noise, 0.0) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while compute_gaussian_delta(noise, high) > delta:
        high *= 2
    while high - low > 1e-9 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if compute_gaussian_delta(noise, middle) > delta else (low, middle)
    return high


def compute_analytic_noise(epsilon: float, delta: float, count: int = 1) -> float:
    """Return the least noise, over the sensitivity, with which ``count`` releases are (epsilon, delta)-DP.

    *Guarantee*: (epsilon, delta)-DP for ``count`` Gaussian releases, fixed in advance.

    *Privacy unit*: whatever the sensitivity is of.

    *Edge cases*: an epsilon of 0 is possible, with noise of about ``0.4 / delta``; epsilon above 1 is exact too, unlike
    with the classic formula.

    Raises:
        BudgetError: epsilon is negative or infinite, delta not between 0 and 1, there is no release, or a noise of a
            million is not enough.
    """
    if not (0 <= epsilon < math.inf and 0 < delta < 1 and count >= 1):
        raise BudgetError(
            f"expected 0 <= epsilon < inf, 0 < delta < 1 and a release, got {epsilon:g}, {delta:g} and {count}"
        )
    root = math.sqrt(count)

    def fits(noise: int) -> bool:
        return compute_gaussian_delta(noise / _GRID / root, epsilon) <= delta * (1 - 1e-12)

    if not fits(_MOST):
        raise BudgetError(f"no noise reaches epsilon {epsilon:g} at delta {delta:g} for {count} releases")
    low, high = 1, _MOST
    while low < high:
        middle = math.isqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return high / _GRID


def compute_classic_noise(epsilon: float, delta: float) -> float:
    """Return the classic formula's noise, sqrt(2 ln(1.25 / delta)) / epsilon, which is proven up to an epsilon of 1.

    Raises:
        BudgetError: epsilon is not between 0 and 1: the formula is wrong there.
    """
    if not 0 < epsilon <= 1:
        raise BudgetError(f"the classic formula is proven for 0 < epsilon <= 1, got {epsilon:g}")
    return math.sqrt(2 * math.log(1.25 / delta)) / epsilon
