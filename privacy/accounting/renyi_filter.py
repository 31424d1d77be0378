"""Keep one grant as a Rényi filter: count what is spent and set aside of its limit at one order.

Source: Feldman and Zrnic 2021 (arXiv 2008.11193, sections 3 and 4). :mod:`privacy.accounting.account` has the
rules.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from privacy.accounting.epsilon import compute_charge, compute_epsilon_offset
from privacy.accounting.events import AnyEvent, Unprotected
from privacy.accounting.figures import GrantFigures, round_down, round_up
from privacy.accounting.plan import Planned
from privacy.accounting.renyi import NANO


@dataclass(frozen=True)
class BudgetGrant:
    """What the data protection officer allows for a population, kept at one order.

    Attributes:
        epsilon: of the guarantee.
        delta: of the guarantee.
        order: the Rényi order at which it is kept.
        limit: the divergence that it has room for at this order, in nano units.
    """

    epsilon: float
    delta: float
    order: int
    limit: int


@dataclass
class RenyiFilter:
    """The Rényi filter of one grant: how much of its limit is spent and set aside, in nano units."""

    granted: BudgetGrant
    spent: int = 0
    set_aside: int = 0

    @property
    def left(self) -> int:
        """What no study has spent or set aside, in nano units."""
        return self.granted.limit - self.spent - self.set_aside

    def compute_price(self, event: AnyEvent) -> int | None:
        """Return what ``event`` costs at the grant's order, in nano units; None if nothing bounds it."""
        return None if isinstance(event, Unprotected) else compute_charge(event, self.granted.order)

    def compute_plan_price(self, plan: Iterable[Planned]) -> int:
        """Return what the events of ``plan`` that have a bound cost, in nano units."""
        return sum((self.compute_price(planned.event) or 0) * planned.times for planned in plan)

    def count_fitting(self, plan: Sequence[Planned]) -> int:
        """Return how many times all of ``plan``, which has a price, fits in what is left."""
        return max(0, self.left) // self.compute_plan_price(plan)

    def epsilon_of(self, amount: int) -> Decimal:
        """Return ``amount`` in epsilon: 0 for nothing, else with the fixed part that the conversion adds."""
        if amount == 0:
            return Decimal(0)
        return max(
            Decimal(0), Decimal(amount) / NANO + compute_epsilon_offset(self.granted.delta, self.granted.order)
        )

    @property
    def epsilon_left(self) -> Decimal:
        """What the grant has left in epsilon."""
        return Decimal(self.granted.epsilon) - self.epsilon_of(self.spent + self.set_aside)

    def compute_epsilon_increase(self, price: int) -> Decimal:
        """Return by how much ``price`` would raise the grant's epsilon."""
        committed = self.spent + self.set_aside
        return self.epsilon_of(committed + price) - self.epsilon_of(committed)

    @property
    def figures(self) -> GrantFigures:
        """Current figures of the grant."""
        granted = self.granted
        spent, committed = self.epsilon_of(self.spent), self.epsilon_of(self.spent + self.set_aside)
        return GrantFigures(
            epsilon=granted.epsilon,
            delta=granted.delta,
            order=granted.order,
            limit=granted.limit,
            spent=self.spent,
            set_aside=self.set_aside,
            left=self.left,
            epsilon_spent=round_up(spent),
            epsilon_set_aside=round_up(committed - spent),
            epsilon_left=round_down(self.epsilon_left),
        )
