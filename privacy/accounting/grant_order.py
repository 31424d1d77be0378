"""Choose the Rényi order of a grant from the studies that it is expected to pay for, before anything is paid."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction

from privacy.accounting.epsilon import compute_charge, compute_epsilon_offset, compute_renyi_limit
from privacy.accounting.events import Unprotected
from privacy.accounting.plan import Planned
from privacy.accounting.renyi import STORED_ORDERS
from privacy.errors import BudgetError


@dataclass(frozen=True)
class OrderChoice:
    """What a grant kept at ``order`` would admit: how many of the expected studies, and why.

    ``price`` is that of the expected studies once, in nano units. ``admits`` is a fraction: 2.75 means two whole
    studies and three quarters of a third. It is 0 where the conversion from divergence to epsilon (``conversion``)
    takes all of the grant.
    """

    order: int
    conversion: Decimal
    price: int
    admits: Fraction


def list_order_choices(epsilon: float, delta: float, expected: Sequence[Planned]) -> list[OrderChoice]:
    """List what each stored order would admit of the ``expected`` studies, taken together.

    Raises:
        BudgetError: the studies have no bound, or epsilon or delta is out of its range.
    """
    events = [(planned.event, planned.times) for planned in expected]
    bounded = [(event, times) for event, times in events if not isinstance(event, Unprotected)]
    if not bounded:
        raise BudgetError(
            "the expected studies have no noise, so nothing bounds them: name studies with an epsilon"
        )
    choices = []
    for order in STORED_ORDERS:
        price = sum(compute_charge(event, order) * times for event, times in bounded)
        room = max(0, compute_renyi_limit(epsilon, delta, order))
        choices.append(OrderChoice(order, compute_epsilon_offset(delta, order), price, Fraction(room, price)))
    return choices


def choose_order(epsilon: float, delta: float, expected: Sequence[Planned]) -> int:
    """Return the order at which a grant of (epsilon, delta) admits most of the ``expected`` studies.

    Of equally good orders it is the smallest.

    Raises:
        BudgetError: the studies have no bound, or no order leaves the grant any room.
    """
    best = max(list_order_choices(epsilon, delta, expected), key=lambda choice: (choice.admits, -choice.order))
    if not best.admits:
        raise BudgetError(
            f"epsilon {epsilon:g} at delta {delta:g} admits nothing of the expected studies at any order: grant a "
            "larger epsilon or delta, or name studies with more noise"
        )
    return best.order


def round_down_to_two_digits(value: float) -> float:
    """Round ``value`` down to two significant digits."""
    digits = Decimal(value)
    return float(digits.quantize(Decimal(1).scaleb(digits.adjusted() - 1), rounding=ROUND_FLOOR))
