"""Compare filters: how much adaptively chosen (epsilon, delta) steps may spend before a mechanism must stop.

*For comparison only*: a grant is kept by the Rényi filter of :mod:`privacy.accounting.renyi_filter`, and nothing is
charged by these.

============  ======================================================================================================
filter        a sequence of steps with S = sum of e^2 keeps within (E, d) while
============  ======================================================================================================
basic         sum of e <= E; d is not needed
Whitehouse    sqrt(2 ln(1/d) S) + S / 2 <= E (Whitehouse, Ramdas, Rogers and Wu 2023, arXiv 2203.05481)
Rogers        sum of e (exp(e) - 1) / 2 + sqrt(2 (S + x) (1 + ln(S / x + 1) / 2) ln(2/d)) <= E, with x = E^2 / (28.04
              ln(1/d)) (Rogers, Roth, Ullman and Vadhan 2016, arXiv 1605.08294)
============  ======================================================================================================

:class:`AdaptiveFilter` goes on while either the basic filter or Whitehouse's does. That is sound: where the basic one
still does, the loss is at most E for sure; elsewhere the mechanism has stopped where Whitehouse's did, and the chance
that the loss is above E there is at most d.

For steps that were fixed in advance there is also advanced composition (Dwork, Rothblum and Vadhan 2010), sqrt(2 k
ln(1/d)) e + k e (exp(e) - 1). An odometer, which says at any time what was spent, must lose a factor of log log
(Rogers et al. 2016); none is here.

>>> round(compute_whitehouse_epsilon([0.1] * 100, 1e-6), 4)
5.7565
"""

import math
from collections.abc import Sequence
from typing import Final, Literal

from privacy.errors import BudgetError

Kind = Literal["basic", "whitehouse", "rogers"]

_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_ROGERS: Final = 28.04
_SLACK: Final = 1e-12  # rounding of sums must not refuse what fits exactly


def compute_whitehouse_epsilon(epsilons: Sequence[float], delta: float) -> float:
    """Return the least E at which Whitehouse's filter lets all ``epsilons`` through."""
    square = math.fsum(each * each for each in epsilons)
    return math.sqrt(2 * math.log(1 / delta) * square) + square / 2


def compute_advanced_epsilon(epsilon: float, count: int, delta: float) -> float:
    """Return the epsilon of ``count`` steps that were fixed in advance, by advanced composition."""
    return math.sqrt(2 * count * math.log(1 / delta)) * epsilon + count * epsilon * math.expm1(epsilon)


def compute_rogers_epsilon(epsilons: Sequence[float], delta: float) -> float:
    """Return the least E at which Rogers' filter lets all ``epsilons`` through; x depends on E, so by bisection."""
    low, high = 0.0, 1.0
    while not _fits_rogers(epsilons, high, delta):
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if _fits_rogers(epsilons, middle, delta) else (middle, high)
    return high


def _fits_rogers(epsilons: Sequence[float], limit: float, delta: float) -> bool:
    if limit <= 0:
        return not epsilons
    square, x = math.fsum(each * each for each in epsilons), limit**2 / (_ROGERS * math.log(1 / delta))
    drift = math.fsum(each * math.expm1(each) / 2 for each in epsilons)
    root = math.sqrt(2 * (square + x) * (1 + math.log(square / x + 1) / 2) * math.log(2 / delta))
    return drift + root <= limit


def count_steps(epsilon: float, limit: float, delta: float, kind: Kind) -> int:
    """Count the steps of ``epsilon`` that a ``basic``, ``whitehouse`` or ``rogers`` filter admits within ``limit``."""

    def fits(count: int) -> bool:
        steps = [epsilon] * count
        if kind == "rogers":
            return _fits_rogers(steps, limit, delta)
        spent = math.fsum(steps) if kind == "basic" else compute_whitehouse_epsilon(steps, delta)
        return spent <= limit + _SLACK

    count = 0
    while fits(count + 1):
        count += 1
    return count


def convert_zcdp(rho: float, delta: float) -> float:
    """Return the epsilon of rho-zCDP at ``delta``, by Canonne, Kamath and Steinke 2020, proposition 12.

    The best order is found by golden section; every order is sound.
    """

    def at(log_excess: float) -> float:
        excess = math.exp(log_excess)  # order a less 1
        return rho * (1 + excess) - math.log1p(1 / excess) - (math.log(delta) + math.log1p(excess)) / excess

    low, high = -30.0, 30.0
    for _ in range(120):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if at(left) < at(right) else (left, high)
    return max(0.0, at((low + high) / 2))


def convert_zcdp_classically(rho: float, delta: float) -> float:
    """Return the epsilon of rho-zCDP by Bun and Steinke 2016, proposition 1.3: rho + 2 sqrt(rho ln(1/delta))."""
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))


class AdaptiveFilter:
    """A filter for steps that are chosen in view of earlier results.

    *Guarantee*: all steps that were admitted are (``epsilon``, ``delta`` + ``slack``)-DP together, whoever chose them.

    *Privacy unit*: that of the steps.

    *Edge cases*: a step that is refused changes nothing, and a smaller one may still be admitted; steps of epsilon 0
    are always admitted.

    Args:
        epsilon: E.
        delta: d, of the composition.
        slack: for the deltas of the steps, which add.
    """

    def __init__(self, epsilon: float, delta: float, slack: float = 0.0) -> None:
        self._limit, self._delta, self._slack = epsilon, delta, slack
        self.epsilons: tuple[float, ...] = ()
        self.deltas: tuple[float, ...] = ()

    def admit(self, epsilon: float, delta: float = 0.0) -> None:
        """Take a step into account, or refuse it and change nothing.

        Raises:
            BudgetError: the step is negative, or does not fit any more.
        """
        if not (0 <= epsilon < math.inf and 0 <= delta < 1):
            raise BudgetError(
                f"expected a step of 0 <= epsilon < inf and 0 <= delta < 1, got {epsilon:g}, {delta:g}"
            )
        epsilons, deltas = (*self.epsilons, epsilon), (*self.deltas, delta)
        spent = min(math.fsum(epsilons), compute_whitehouse_epsilon(epsilons, self._delta))
        if spent > self._limit + _SLACK or math.fsum(deltas) > self._slack * (1 + _SLACK):
            raise BudgetError(
                f"a step of epsilon {epsilon:g} does not fit: {spent:g} of {self._limit:g} would be spent"
            )
        self.epsilons, self.deltas = epsilons, deltas
