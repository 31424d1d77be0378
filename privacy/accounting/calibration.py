"""Find the least noise with which a plan keeps within (epsilon, delta), for steps of every kind and for sites' updates.

>>> from privacy.accounting.calibration import compute_noise_multiplier
>>> compute_noise_multiplier(epsilon=3.0, delta=1e-5, sampling_rate=0.1, steps=100)
1.798245

Rules:

* A noise multiplier is a whole number of millionths. It is found by bisection and rounded up.
* Rounds are priced one by one, as a ledger charges them. So a study that is calibrated to an epsilon is never
  refused by a grant of that epsilon at the same order.
* Orders are looked at in groups. The next group is looked at only where the largest order of this one is the best.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import isqrt
from typing import Final

from privacy.accounting.epsilon import ALL, OF_SEVERAL, compute_renyi_limit, compute_stored_charge
from privacy.accounting.events import (
    BandedGaussian,
    Bounded,
    BoundedContribution,
    SampledGaussian,
    SiteUpdates,
    TreeGaussian,
)
from privacy.accounting.renyi import ORDERS
from privacy.errors import BudgetError

GRID: Final = 10**6  # a calibrated noise multiplier is a whole number of millionths
MOST_NOISE: Final = 10**6 * GRID  # of NoiseMultiplier
_LEAST_NOISE: Final = GRID // 100


@lru_cache(maxsize=64)
def compute_noise_multiplier(
    epsilon: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    rounds: int = 1,
    orders: range | tuple[int, ...] = ORDERS,
    records: int = 1,
) -> float:
    """Return the least noise multiplier with which ``rounds`` times ``steps`` sampled Gaussian steps fit a budget.

    Rounded up to a millionth. With ``sampling_rate`` 1 it calibrates Gaussian totals.

    Args:
        epsilon: to stay within.
        delta: to stay within.
        sampling_rate: each patient's chance to be in a step, 0 < q <= 1.
        steps: noisy steps in one round.
        rounds: how often such a round is charged.
        orders: the orders to look at; a single one for a budget that is kept at that order.
        records: the most records of one patient, where records are sampled one by one. Then stored orders up to 32
            are looked at, and the slow ones up to 128 only where 32 is the best.

    Raises:
        BudgetError: no noise multiplier up to a million is enough.
    """
    slow = records > 1 and sampling_rate < 1

    def with_noise(noise: float) -> Bounded:
        if records == 1:
            return SampledGaussian(noise_multiplier=noise, sampling_rate=sampling_rate, steps=steps)
        return BoundedContribution(
            noise_multiplier=noise, sampling_rate=sampling_rate, records_per_patient=records, steps=steps
        )

    what = (
        f"{rounds * steps} steps at rate {sampling_rate:g}: ask for a larger epsilon, a larger delta or fewer steps"
    )
    if orders != ORDERS:
        return _find_least_noise(with_noise, epsilon, delta, rounds, [orders], what)
    return _find_least_noise(with_noise, epsilon, delta, rounds, OF_SEVERAL if slow else ALL, what)


@lru_cache(maxsize=64)
def compute_site_noise_multiplier(epsilon: float, delta: float, participation: float, rounds: int) -> float:
    """Return the least noise multiplier with which ``rounds`` sums of whole sites' updates fit a patient's budget.

    It is over the clipping norm of the updates, and rounded and priced as in :func:`compute_noise_multiplier`.

    Args:
        epsilon: to stay within.
        delta: to stay within.
        participation: each site's chance to count in a round, 0 < q <= 1.
        rounds: how many sums.

    Raises:
        BudgetError: no noise multiplier up to a million is enough.
    """

    def with_noise(noise: float) -> Bounded:
        return SiteUpdates(noise_multiplier=noise, participation=participation, steps=1, colluders=0)

    what = f"{rounds} rounds of whole sites' updates: ask for a larger epsilon, a larger delta or fewer rounds"
    return _find_least_noise(with_noise, epsilon, delta, rounds, ALL, what)


@lru_cache(maxsize=64)
def compute_ordered_noise_multiplier(
    epsilon: float, delta: float, one: BandedGaussian | TreeGaussian, rounds: int
) -> float:
    """Return the least noise multiplier with which ``rounds`` rounds over lots in a fixed order fit a budget.

    Args:
        epsilon: to stay within.
        delta: to stay within.
        one: the event of a round, whatever its noise.
        rounds: how often it is charged.

    Raises:
        BudgetError: no noise multiplier up to a million is enough.
    """

    def with_noise(noise: float) -> Bounded:
        return one.model_copy(update={"noise_multiplier": noise})

    what = f"{rounds * one.passes} passes: ask for a larger epsilon, a larger delta or fewer passes"
    return _find_least_noise(with_noise, epsilon, delta, rounds, ALL, what)


def _find_least_noise(
    with_noise: Callable[[float], Bounded],
    epsilon: float,
    delta: float,
    rounds: int,
    octaves: Sequence[Sequence[int]],
    what: str,
) -> float:
    """Return the least noise multiplier with which ``rounds`` times the event fits at one order of ``octaves``."""
    least: int | None = None
    for orders in octaves:
        # only less noise than was enough at earlier orders is of interest
        found, order = _find_least_noise_at(with_noise, epsilon, delta, rounds, orders, least or MOST_NOISE)
        least = found if found is not None else least
        if least is not None and order != orders[-1]:
            break
    if least is None:
        raise BudgetError(f"no noise reaches epsilon {epsilon:g} at delta {delta:g} for {what}")
    return least / GRID


def _find_least_noise_at(
    with_noise: Callable[[float], Bounded],
    epsilon: float,
    delta: float,
    rounds: int,
    orders: Sequence[int],
    high: int,
) -> tuple[int | None, int | None]:
    """Return the least noise up to ``high``, in millionths, and the largest of ``orders`` at which it fits."""
    room = {order: compute_renyi_limit(epsilon, delta, order) for order in orders}

    def fitting(candidates: Iterable[int], noise: int) -> list[int]:
        event = with_noise(noise / GRID)
        return [order for order in candidates if rounds * compute_stored_charge(event, order) <= room[order]]

    fit = fitting((order for order in orders if room[order] > 0), high)
    if not fit:
        return None, None

    def fits(noise: int) -> bool:
        # an order that has no room at some noise has none at any smaller noise, so candidates only drop out
        nonlocal fit
        still = fitting(fit, noise)
        fit = still or fit
        return bool(still)

    return bisect_noise(fits, high), max(fit)


def bisect_noise(fits: Callable[[int], bool], high: int) -> int:
    """Return the least noise, in millionths, that ``fits``; ``high`` does, and more noise never fits less.

    The middle is the geometric mean: the grid spans eight orders of magnitude.
    """
    low = _LEAST_NOISE
    while low < high:
        middle = isqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return high
