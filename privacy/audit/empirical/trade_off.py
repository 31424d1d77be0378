"""Bound epsilon from below by one training, with the whole trade-off of an attacker's two errors.

>>> from privacy.audit.empirical.one_run import Guesses
>>> from privacy.audit.empirical.trade_off import Curve, compute_trade_off_bound
>>> guesses = Guesses(canaries=1000, made=100, correct=95)
>>> round(compute_trade_off_bound(guesses, 1e-5, Curve.EPSILON_DELTA), 2)
2.16
>>> round(compute_trade_off_bound(guesses, 1e-5, Curve.GAUSSIAN), 2)
3.32

A program is f-private if an attacker with false alarms a misses at least f(a). An (epsilon, delta) gives one such f, a
Gaussian mechanism another one, which says more. The procedure and the coins are those of
:mod:`privacy.audit.empirical.one_run`.

==================  ==================================================================================================
curve               what is presumed
==================  ==================================================================================================
``EPSILON_DELTA``   nothing but the claim: f(a) = max(0, 1 - delta - e^epsilon a, e^-epsilon (1 - delta - a))
``GAUSSIAN``        that the program's trade-off is that of *some* Gaussian mechanism: f(a) = Phi(Phi^-1(1 - a) - mu).
                    The bound is the epsilon of the smallest such mu at delta. Where the trade-off is none of these, as
                    with sampled patients, it is an estimate and bounds nothing
==================  ==================================================================================================

* **Guarantee.** If the program is f-private, guesses as good as these have a probability of at most 1 - confidence
  wherever :func:`is_refuted` says that f is refuted.
* **Privacy unit.** What one canary is: a patient, added or removed.
* **Edge cases.** No correct guess refutes nothing; as in ``one_run`` the number of guesses is fixed beforehand.

Source: Mahloujifar, Melis and Chaudhuri 2024, "Auditing f-differential privacy in one run" (arXiv 2410.22235, algorithm
3). Gaussian curve: Dong, Roth and Su 2022 (arXiv 1905.02383, corollary 2.13).
"""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from scipy.special import log_ndtr, ndtr, ndtri

from privacy.audit.empirical.largest_epsilon import find_largest
from privacy.audit.empirical.one_run import CONFIDENCE, Guesses

_STEPS: Final = 80
_LARGEST_MU: Final = 64.0


class Curve(StrEnum):
    """What a bound presumes of the trade-off between false alarms and misses."""

    EPSILON_DELTA = "epsilon-delta"
    GAUSSIAN = "gaussian"


def compute_trade_off_bound(guesses: Guesses, delta: float, curve: Curve, confidence: float = CONFIDENCE) -> float:
    """Return the largest epsilon whose ``curve`` at ``delta`` these guesses refute; 0 if they refute none.

    Raises:
        ValueError: a Gaussian curve without delta.
    """
    if curve is Curve.GAUSSIAN and not 0 < delta < 1:
        raise ValueError(f"a Gaussian mechanism needs a delta between 0 and 1, got {delta:g}")

    def is_epsilon_refuted(epsilon: float) -> bool:
        return is_refuted(guesses, _make_inverse(epsilon, delta, curve), 1 - confidence)

    return find_largest(is_epsilon_refuted)


def is_refuted(guesses: Guesses, shrink: Callable[[float], float], error: float) -> bool:
    """Return whether guesses as good as these have a probability of at most ``error`` under a trade-off.

    Args:
        guesses: of the canaries.
        shrink: the inverse of 1 - f: the least probability that an event of a given probability has if one patient
            is added or removed.
        error: the probability with which a true claim may be refuted.
    """
    canaries, made, correct = guesses.canaries, guesses.made, guesses.correct
    # h and r bound, with i further correct guesses, the chances of a wrong and of a correct one (algorithm 3)
    right, wrong = error * correct / canaries, error * (made - correct) / canaries
    for left in range(correct - 1, -1, -1):
        grown = max(wrong, shrink(right))
        if grown == wrong:
            break  # nothing changes from here on
        right = min(1.0, right + left / (made - left) * (grown - wrong))
        wrong = grown
    return right + wrong > made / canaries


def compute_gaussian_delta(epsilon: float, mu: float) -> float:
    """Return the delta at ``epsilon`` of a Gaussian mechanism whose noise is 1 / ``mu`` times its sensitivity."""
    if mu <= 0:
        return 0.0
    first = float(ndtr(mu / 2 - epsilon / mu))
    return max(0.0, first - math.exp(min(700.0, epsilon + float(log_ndtr(-mu / 2 - epsilon / mu)))))


def compute_gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the least epsilon at ``delta`` of a Gaussian mechanism whose noise is 1 / ``mu`` times its sensitivity.

    Raises:
        ValueError: delta is not between 0 and 1.
    """
    if not 0 < delta < 1:
        raise ValueError(f"a Gaussian mechanism needs a delta between 0 and 1, got {delta:g}")
    return find_largest(lambda epsilon: compute_gaussian_delta(epsilon, mu) > delta)


def find_gaussian_mu(epsilon: float, delta: float) -> float:
    """Return the largest mu whose Gaussian mechanism is (``epsilon``, ``delta``)-private."""
    low, high = 0.0, _LARGEST_MU
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if compute_gaussian_delta(epsilon, middle) <= delta else (low, middle)
    return low


def _make_inverse(epsilon: float, delta: float, curve: Curve) -> Callable[[float], float]:
    if curve is Curve.GAUSSIAN:
        mu = find_gaussian_mu(epsilon, delta)
        return lambda chance: float(ndtr(ndtri(chance) - mu))
    return lambda chance: max(
        0.0, (chance - delta) * math.exp(-epsilon), 1 - delta - math.exp(epsilon) * (1 - chance)
    )
