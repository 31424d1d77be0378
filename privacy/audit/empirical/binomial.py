"""Compute tails of the binomial distribution, and the bounds of Clopper and Pearson 1934.

Tails are sums of terms that are computed in logarithms, so that a tail of 1e-200 is as exact as one of 0.5.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, gammaln


def compute_upper_tail(trials: int, successes: int, chance: float) -> float:
    """Return the probability of at least ``successes`` successes in ``trials`` with ``chance`` each."""
    if successes <= 0:
        return 1.0
    if successes > trials:
        return 0.0
    return float(betainc(successes, trials - successes + 1, chance))


def compute_sums_below(trials: int, successes: int, chance: float) -> NDArray[np.float64]:
    """Return P[successes - i <= W < successes] for i = 1 to ``successes``; W has ``trials`` and ``chance``."""
    counts = np.arange(successes - 1, -1, -1, dtype=np.float64)  # successes - 1, ..., 0
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = (
            gammaln(trials + 1)
            - gammaln(counts + 1)
            - gammaln(trials - counts + 1)
            + np.where(counts == 0, 0.0, counts * np.log(chance))
            + np.where(counts == trials, 0.0, (trials - counts) * np.log1p(-chance))
        )
    return np.cumsum(np.exp(logs))


def compute_largest_chance(successes: int, trials: int, error: float) -> float:
    """Return the upper Clopper-Pearson bound of a chance.

    Args:
        successes: how many were seen.
        trials: among how many.
        error: the probability that the chance is larger than the bound.

    Raises:
        ValueError: no such count, or no such probability.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"expected 0 to {trials} successes in at least one trial, got {successes}")
    if not 0 < error < 1:
        raise ValueError(f"expected a probability of error between 0 and 1, got {error:g}")
    return 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1 - error))
