"""Bound epsilon from below by many trainings, some with one patient and some without.

>>> from privacy.audit.empirical.many_runs import Runs, compute_many_runs_bound
>>> round(compute_many_runs_bound(Runs(without=1000, false_alarms=0, present=1000, missed=0), error_each=0.05), 3)
5.809

An attacker says after each training whether the patient was there. It needs hundreds of trainings where
:mod:`privacy.audit.empirical.one_run` needs one, and is much tighter.

* **Guarantee.** Whoever attacks an (epsilon, delta)-private program with false alarms a and misses b has
  e^epsilon a >= 1 - delta - b and e^epsilon b >= 1 - delta - a (Kairouz, Oh and Viswanath 2015, arXiv 1311.0776).
  Both chances are replaced by upper Clopper-Pearson bounds, each of which fails with ``error_each``. So the whole bound
  fails with at most twice that.
* **Privacy unit.** The one patient who is added or removed.
* **Edge cases.** What the attacker decides by is fixed before these runs. A chance that may be 1 refutes nothing. No
  runs of one kind: refused.

:func:`compute_gaussian_runs_bound` presumes in addition that the trade-off is that of a Gaussian mechanism, as it is of
noised sums over all patients, and says more.
"""

import math
from dataclasses import dataclass

from scipy.special import ndtri

from privacy.audit.empirical.binomial import compute_largest_chance
from privacy.audit.empirical.trade_off import compute_gaussian_epsilon


@dataclass(frozen=True)
class Runs:
    """Trainings without and with the patient, and how often an attacker was wrong about them."""

    without: int
    false_alarms: int
    present: int
    missed: int


def compute_many_runs_bound(runs: Runs, delta: float = 0.0, error_each: float = 0.025) -> float:
    """Return the largest epsilon that these runs refute at ``delta``; 0 if they refute none.

    Args:
        runs: what was seen.
        delta: of the claim.
        error_each: the probability that the bound of one of the two chances fails.

    Raises:
        ValueError: there are no runs of a kind, or more errors than runs.
    """
    alarms, misses = _bound_errors(runs, error_each)
    ratios = [(1 - delta - one) / other for one, other in ((alarms, misses), (misses, alarms))]
    return max(0.0, *(math.log(ratio) if ratio > 0 else 0.0 for ratio in ratios))


def compute_gaussian_runs_bound(runs: Runs, delta: float, error_each: float = 0.025) -> float:
    """Return the largest epsilon at ``delta`` of Gaussian mechanisms that these runs refute; 0 if they refute none.

    Raises:
        ValueError: as :func:`compute_many_runs_bound`, or delta is not between 0 and 1.
    """
    alarms, misses = _bound_errors(runs, error_each)
    return compute_gaussian_epsilon(float(ndtri(1 - alarms) - ndtri(misses)), delta)


def _bound_errors(runs: Runs, error_each: float) -> tuple[float, float]:
    return (
        compute_largest_chance(runs.false_alarms, runs.without, error_each),
        compute_largest_chance(runs.missed, runs.present, error_each),
    )
