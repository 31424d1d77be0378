"""Compute what events cost at a Rényi order, and which epsilon that means.

>>> from privacy.accounting.epsilon import compute_charge, epsilon_of
>>> from privacy.accounting.events import SampledGaussian
>>> training = SampledGaussian(noise_multiplier=1.0, sampling_rate=0.01, steps=1000)
>>> round(epsilon_of([training], delta=1e-5), 4)
2.1078
>>> compute_charge(training, order=4)  # in nano units of Rényi divergence
363154049

Rules:

* Every order gives a sound epsilon, and a study that is fixed in advance may take the best of them. Orders 2 to 256
  are looked at. Where 256 is the best of these, as it is for a small epsilon, larger ones up to 16384 are too.
* A ledger stores each event's curve at the orders of ``STORED_ORDERS``. Budgets may be kept at these.
* Budgets are integers, in nano (1e-9) units of Rényi divergence at one order. A charge is rounded up, a limit down:
  rounding never lets a study spend more.
* Arithmetic is decimal with 50 digits (:mod:`privacy.accounting.renyi`), so a hospital and its auditor get the same
  integers on every machine.

Source of the conversion from Rényi divergence to epsilon: Canonne, Kamath and Steinke 2020 (arXiv 2004.00010,
proposition 12), also Balle et al. 2020 (arXiv 1905.09982, theorem 21).
"""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from functools import lru_cache
from math import inf, nextafter
from typing import Final

from privacy.accounting.events import AnyEvent, Bounded, BoundedContribution, Events, Unprotected
from privacy.accounting.renyi import AT_LEAST, DIGITS, LARGER, NANO, ORDERS, STORED_ORDERS, UNBOUNDED
from privacy.errors import BudgetError

ALL: Final = (ORDERS, *(LARGER[first : first + 4] for first in range(0, len(LARGER), 4)))  # octave by octave
# for several records of a patient: curves are slow to compute, and only at stored orders
OF_SEVERAL: Final = ((2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32), (40, 48, 64, 96, 128))


def compute_charge(event: Bounded, order: int) -> int:
    """Return what ``event`` costs at ``order``, in nano units of Rényi divergence, rounded up.

    Raises:
        BudgetError: no bound of the event is known at this order.
    """
    return _compute_charge(event, order)


def compute_stored_charge(event: Bounded, order: int) -> int:
    """Return :func:`compute_charge`, or ``AT_LEAST`` where no bound is known."""
    return AT_LEAST if event.compute_renyi_divergence(order) == UNBOUNDED else compute_charge(event, order)


@lru_cache(maxsize=4096)
def compute_stored_curve(event: AnyEvent, times: int = 1) -> tuple[int, ...] | None:
    """Return the curve that a ledger stores: ``times`` what ``event`` costs at each order of ``STORED_ORDERS``.

    ``AT_LEAST`` means this amount or more; no grant has so much. The result is None if nothing bounds the event.
    """
    if isinstance(event, Unprotected):
        return None
    with localcontext(DIGITS):
        return tuple(
            AT_LEAST
            if (rho := event.compute_renyi_divergence(order)) * NANO * times >= AT_LEAST
            else times * _round_charge_up(rho)
            for order in STORED_ORDERS
        )


def compute_renyi_limit(epsilon: float, delta: float, order: int) -> int:
    """Return the divergence at ``order`` that (epsilon, delta) has room for, in nano units, rounded down.

    It is not positive where the conversion alone takes more than ``epsilon``.

    Raises:
        BudgetError: epsilon, delta or order is out of its range.
    """
    if not 0 < epsilon < inf:
        raise BudgetError(f"expected a finite epsilon above 0, got {epsilon:g}")
    with localcontext(DIGITS):
        room = (Decimal(epsilon) - compute_epsilon_offset(delta, order)) * NANO
        return int(room.to_integral_value(ROUND_FLOOR))


def compute_epsilon_offset(delta: float, order: int) -> Decimal:
    """Return what the conversion of divergence at ``order`` to epsilon at ``delta`` adds.

    Raises:
        BudgetError: delta or order is out of its range.
    """
    if not 0 < delta < 1:
        raise BudgetError(f"expected 0 < delta < 1, got {delta:g}")
    if not ORDERS[0] <= order <= LARGER[-1]:
        raise BudgetError(f"expected an order from {ORDERS[0]} to {LARGER[-1]}, got {order}")
    return _compute_epsilon_offset(delta, order)


@lru_cache(maxsize=4096)
def _compute_epsilon_offset(delta: float, order: int) -> Decimal:
    with localcontext(DIGITS):
        a = Decimal(order)
        # Canonne, Kamath and Steinke 2020, proposition 12
        return ((a - 1) / a).ln() - (Decimal(delta).ln() + a.ln()) / (a - 1)


def epsilon_of(events: Events, delta: float, orders: Sequence[int] = ORDERS) -> float:
    """Return the epsilon at ``delta`` of all ``events`` together, rounded up; infinite if one is unprotected.

    *Guarantee*: (epsilon, delta)-DP for a study whose events were fixed in advance. The whole curve holds, so the
    best of ``orders`` may be chosen afterwards. For events chosen in view of results, use the filter of a grant.
    """
    return _round_up(_find_smallest_epsilon(events, delta, orders)[0])


def find_best_order(events: Events, delta: float, orders: Sequence[int] = ORDERS) -> int:
    """Return the order at which ``events`` have the smallest epsilon at ``delta``."""
    return _find_smallest_epsilon(events, delta, orders)[1]


def is_cut_short(events: Events, delta: float) -> bool:
    """Return whether ``events`` would cost less at an order beyond the largest that is looked at."""
    events = list(events)
    return find_best_order(events, delta) == list_order_groups(events)[-1][-1]


@lru_cache(maxsize=16384)
def _compute_charge(event: Bounded, order: int) -> int:
    with localcontext(DIGITS):
        rho = event.compute_renyi_divergence(order)
        if rho == UNBOUNDED:
            raise BudgetError(
                f"no bound of a {event.kind} event is known at order {order}; use one of {STORED_ORDERS}"
            )
        return _round_charge_up(rho)


def _round_charge_up(rho: Decimal) -> int:
    return int((rho * NANO).to_integral_value(ROUND_CEILING))


def _find_smallest_epsilon(events: Events, delta: float, orders: Sequence[int]) -> tuple[Decimal, int]:
    """Return the smallest epsilon of ``events`` and its order."""
    events = list(events)
    if not events:
        return Decimal(0), orders[0]
    groups = list_order_groups(events) if orders == ORDERS else [orders]
    with localcontext(DIGITS):
        best = (UNBOUNDED, orders[0])
        for some in groups:
            best = min(
                best,
                *(
                    (
                        max(
                            Decimal(0),
                            sum(event.compute_renyi_divergence(order) for event in events)
                            + compute_epsilon_offset(delta, order),
                        ),
                        order,
                    )
                    for order in some
                ),
            )
            if best[1] != some[-1]:
                break
        return best


def list_order_groups(events: Events) -> Sequence[Sequence[int]]:
    """List groups of orders to look at: the next group only where the largest order of this one is the best."""
    return (
        OF_SEVERAL if any(isinstance(event, BoundedContribution) and event.is_mixture for event in events) else ALL
    )


def _round_up(value: Decimal) -> float:
    nearest = float(value)
    return nearest if nearest == inf or Decimal(nearest) >= value else nextafter(nearest, inf)
