"""What a mechanism costs: its Renyi divergence curve, and what that means in epsilon.

Rules:

* A mechanism is an event with public parameters only (noise, rate, steps); its cost never depends on records.
* Neighbours differ by one patient, added or removed. The curve is known at integer orders; events compose by adding
  their curves. An event without a sound bound is :class:`Unprotected`; an unknown one is refused.
* Every order gives a sound epsilon, and a study may take the best of them. Orders 2 to 256 are looked at, and where
  256 is the best of these, as it is for a small epsilon, the larger ones up to 16384 too.
* A ledger writes down each event's curve at the orders of ``STORED_ORDERS``, where budgets may be kept.
* Budgets are kept in integers, in nano (1e-9) units of Renyi divergence at one order. A charge is rounded up, a
  limit down: every rounding is against the spender.
* Arithmetic is decimal with 50 digits (``exp`` and ``ln`` correctly rounded), so that a hospital and its auditor
  get the same integers on every machine; nothing is left to a platform's floating point.

Sources: the Poisson-sub-sampled Gaussian at integer orders, Mironov, Talwar and Zhang 2019 (arXiv 1908.10530,
section 3.3); the Gaussian and Laplace mechanisms, Mironov 2017 (arXiv 1702.07476, propositions 7 and 6), of which the
former bounds the discrete Gaussian of the same variance too (Canonne, Kamath and Steinke 2020, arXiv 2004.00010,
theorem 4); from Renyi divergence to epsilon, the same paper's proposition 12, also Balle et al. 2020 (arXiv
1905.09982, theorem 21); several records of one patient, ``privacy/accounting/records_per_patient.py``; whole sites'
updates, ``docs/privacy.md``.
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
OF_SEVERAL: Final = ((2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32), (40, 48, 64, 96, 128))


def compute_charge(event: Bounded, order: int) -> int:
    """What ``event`` costs at ``order``, in nano units of Renyi divergence, rounded up.

    Raises:
        BudgetError: no bound of the event is known at this order.
    """
    return _compute_charge(event, order)


def compute_stored_charge(event: Bounded, order: int) -> int:
    """:func:`compute_charge`, or ``AT_LEAST`` where no bound is known."""
    return AT_LEAST if event.compute_renyi_divergence(order) == UNBOUNDED else compute_charge(event, order)


def compute_stored_curve(event: AnyEvent, times: int = 1) -> tuple[int, ...] | None:
    """The curve a ledger writes down: ``times`` what ``event`` costs at each order of ``STORED_ORDERS``.

    ``AT_LEAST`` stands for itself and anything above it (no grant has so much). None if nothing bounds the event.
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
    """The divergence at ``order`` that (epsilon, delta) has room for, in nano units, rounded down.

    Not positive when the conversion alone takes more than ``epsilon``.
    """
    if not 0 < epsilon < inf:
        raise BudgetError(f"expected a finite epsilon above 0, got {epsilon:g}")
    with localcontext(DIGITS):
        room = (Decimal(epsilon) - compute_epsilon_offset(delta, order)) * NANO
        return int(room.to_integral_value(ROUND_FLOOR))


def compute_epsilon_offset(delta: float, order: int) -> Decimal:
    """What turning divergence at ``order`` into epsilon at ``delta`` adds (proposition 12)."""
    if not 0 < delta < 1:
        raise BudgetError(f"expected 0 < delta < 1, got {delta:g}")
    if not ORDERS[0] <= order <= LARGER[-1]:
        raise BudgetError(f"expected an order from {ORDERS[0]} to {LARGER[-1]}, got {order}")
    return _compute_epsilon_offset(delta, order)


@lru_cache(maxsize=4096)
def _compute_epsilon_offset(delta: float, order: int) -> Decimal:
    with localcontext(DIGITS):
        a = Decimal(order)
        return ((a - 1) / a).ln() - (Decimal(delta).ln() + a.ln()) / (a - 1)


def epsilon_of(events: Events, delta: float, orders: Sequence[int] = ORDERS) -> float:
    """The epsilon at ``delta`` of all ``events`` together, rounded up; infinite if one is unprotected.

    *Guarantee*: (epsilon, delta)-DP for a study whose events were fixed in advance: the best of ``orders`` may
    be taken afterwards, since the whole curve holds. For events chosen in view of results, use a budget's filter.
    """
    return _round_up(_find_smallest_epsilon(events, delta, orders)[0])


def find_best_order(events: Events, delta: float, orders: Sequence[int] = ORDERS) -> int:
    """The order at which ``events`` have the smallest epsilon at ``delta``."""
    return _find_smallest_epsilon(events, delta, orders)[1]


def is_cut_short(events: Events, delta: float) -> bool:
    """Whether ``events`` would cost less at an order beyond the largest that is looked at."""
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
    """The smallest epsilon of ``events`` and its order."""
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
    """Orders to look at, the next ones where the largest of the first is the best."""
    return (
        OF_SEVERAL if any(isinstance(event, BoundedContribution) and event.is_mixture for event in events) else ALL
    )


def _round_up(value: Decimal) -> float:
    nearest = float(value)
    return nearest if nearest == inf or Decimal(nearest) >= value else nextafter(nearest, inf)
