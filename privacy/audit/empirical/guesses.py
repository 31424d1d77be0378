"""Turn an attacker's scores of canaries into bounds of epsilon, each with what it presumes.

====================  ================================================================================================
bound                 what it presumes
====================  ================================================================================================
``one_run``           nothing but independent coins (Steinke et al. 2023)
``trade_off``         nothing but independent coins (Mahloujifar et al. 2024, the curve of epsilon and delta)
``gaussian``          that the trade-off of false alarms and misses is that of a Gaussian mechanism
``independent``       that, and that one canary's score does not depend on another canary's coin: each counts as a
                      training of its own. Only computed where canaries have directions of their own
====================  ================================================================================================

The first two are bounds with the stated confidence. The others are bounds under their presumption: noised sums over all
patients fulfil it; sampled patients do not, but come near it over many steps.

Rules:

* an attacker guesses that the highest scores took part and that the lowest did not, equally many of each. How many it
  guesses is one of :data:`SHARES` of the canaries, all of which are paid for, with every score (Bonferroni);
* ``independent`` guesses for every canary: its score is above 1/2, where 0 is expected of who is absent and 1 of who
  is present, or it is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.audit.empirical.many_runs import Runs, compute_gaussian_runs_bound
from privacy.audit.empirical.one_run import CONFIDENCE, Guesses, compute_one_run_bound
from privacy.audit.empirical.trade_off import Curve, compute_trade_off_bound

SHARES: Final = (0.1, 0.2, 0.4, 1.0)
"""Which parts of the canaries an attacker guesses."""
THRESHOLD: Final = 0.5

Scores = NDArray[np.float64]
Coins = NDArray[np.bool_]


@dataclass(frozen=True)
class Bounds:
    """Bounds of epsilon from below; the module says what each presumes.

    ``independent`` is None where canaries' scores depend on each other.
    """

    one_run: float
    trade_off: float
    gaussian: float
    independent: float | None

    @property
    def presuming_nothing(self) -> float:
        """The largest bound that presumes nothing of the program."""
        return max(self.one_run, self.trade_off)

    @property
    def largest(self) -> float:
        """The largest of all."""
        return max(self.presuming_nothing, self.gaussian, self.independent or 0.0)


def make_guesses(scores: Scores, coins: Coins, made: int) -> Guesses:
    """Guess that the highest ``scores``, (m,), took part and the lowest did not; compare with the ``coins``, (m,)."""
    order, absent = np.argsort(scores, kind="stable"), made // 2
    present = made - absent
    correct = int(np.count_nonzero(~coins[order[:absent]])) + int(
        np.count_nonzero(coins[order[len(order) - present :]])
    )
    return Guesses(len(scores), made, correct)


def compute_bounds(
    attacks: Sequence[Scores],
    coins: Coins,
    delta: float,
    *,
    independent: bool = False,
    confidence: float = CONFIDENCE,
) -> Bounds:
    """Compute all bounds of one training.

    Args:
        attacks: several scores of every canary, (m,) each; the higher, the more likely it took part. The first one is 0
            on average for who is absent and 1 for who is present.
        coins: (m,) whether each took part, by independent fair coins.
        delta: of the claim.
        independent: whether no canary's first score depends on another canary's coin.
        confidence: with which each bound holds, under what it presumes.

    Raises:
        ValueError: fewer than two canaries, or delta is not between 0 and 1.
    """
    canaries = len(coins)
    if canaries < 2:
        raise ValueError(f"expected at least two canaries, got {canaries}")
    if not 0 < delta < 1:
        raise ValueError(f"expected a delta between 0 and 1, got {delta:g}")
    tried = [make_guesses(scores, coins, max(2, round(share * canaries))) for scores in attacks for share in SHARES]
    each = 1 - (1 - confidence) / len(tried)
    return Bounds(
        one_run=max(compute_one_run_bound(guesses, delta, each) for guesses in tried),
        trade_off=max(compute_trade_off_bound(guesses, delta, Curve.EPSILON_DELTA, each) for guesses in tried),
        gaussian=max(compute_trade_off_bound(guesses, delta, Curve.GAUSSIAN, each) for guesses in tried),
        independent=_bound_independent(attacks[0], coins, delta, 1 - confidence) if independent else None,
    )


def _bound_independent(scores: Scores, coins: Coins, delta: float, error: float) -> float:
    present, said = int(np.count_nonzero(coins)), scores > THRESHOLD
    if not 0 < present < len(coins):
        return 0.0
    runs = Runs(
        without=len(coins) - present,
        false_alarms=int(np.count_nonzero(said & ~coins)),
        present=present,
        missed=int(np.count_nonzero(~said & coins)),
    )
    return compute_gaussian_runs_bound(runs, delta, error / 2)
