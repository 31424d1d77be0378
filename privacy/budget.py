"""One population's privacy budget: what was granted, what is spent, and whether a study still fits.

Pure arithmetic; the site's book and its auditor fold the same entries through it.

Rules:

* A grant is (epsilon, delta) at **one order, fixed when it is granted**. Studies are chosen in view of earlier
  results, and a Renyi filter is a theorem about a fixed order (Feldman and Zrnic 2021, arXiv 2008.11193, sections 3
  and 4): whatever is chosen next, as long as the charges at that order stay within the limit, everything together
  is (epsilon, delta)-DP. A population has one grant, and it is not enlarged.
* A study sets its whole price aside at admission; its rounds are paid from that and from nothing else, so no study
  is refused in its ninth round of ten. What it has not used comes back when it closes.
* A round is paid when it is reserved, in full, whatever becomes of it.
* A round is one of those the study's plan names: same noise, same rate, same number of steps.
* Training without privacy marks the population: no epsilon describes it any more, and studies with privacy are
  refused from then on. Evaluation without noise marks the held-out patients only, who are never trained on.
* A refusal changes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Final

from pydantic import Field

from privacy.accountant import (
    NANO,
    ORDERS,
    Event,
    Gaussian,
    SampledGaussian,
    Unprotected,
    charge,
    conversion,
    epsilon,
    limit,
)
from privacy.document import Document
from privacy.errors import BudgetError

AnyEvent = SampledGaussian | Gaussian | Unprotected


class Purpose(StrEnum):
    """Which patients an event touches."""

    TRAIN = "train"
    EVALUATE = "evaluate"


class Planned(Document):
    """An event that a study will cause ``times`` times, once in a round."""

    purpose: Purpose
    event: Event
    times: Annotated[int, Field(ge=1, le=10_000)]


Plan = Annotated[tuple[Planned, ...], Field(min_length=1, max_length=1000)]


class Budget(Document):
    """Where a population stands, in nano units of Renyi divergence at ``order`` and in epsilon at ``delta``.

    ``None`` stands for *no grant* in the granted figures, and for *no bound* in ``epsilon_spent``.
    """

    population: str
    epsilon_granted: float | None
    delta: float | None
    order: int | None
    limit: int
    spent: int
    set_aside: int
    left: int
    epsilon_spent: float | None
    epsilon_set_aside: float
    epsilon_left: float
    studies: int
    protected: bool
    held_out_protected: bool


@dataclass(frozen=True)
class Grant:
    """What the data protection officer allows for a population, kept at one order."""

    epsilon: float
    delta: float
    order: int
    limit: int


@dataclass
class Allowance:
    """What one study may still cause, and the price that is set aside for it."""

    planned: Counter[tuple[Purpose, AnyEvent]]
    set_aside: int
    private: bool
    paid: Counter[tuple[Purpose, AnyEvent]] = field(default_factory=Counter)
    closed: bool = False


@dataclass
class Filter:
    """The Renyi filter of one population: it says yes and keeps count, or raises and changes nothing."""

    population: str
    granted: Grant | None = None
    allowances: dict[str, Allowance] = field(default_factory=dict)
    spent: int = 0
    set_aside: int = 0
    unprotected_by: str | None = None
    held_out_protected: bool = True

    def grant(self, epsilon: float, delta: float, order: int) -> Grant:
        """Set the limit.

        Raises:
            BudgetError: there is a grant already, or ``order`` leaves (epsilon, delta) no room.
        """
        if self.granted is not None:
            raise BudgetError(
                f"the population '{self.population}' has its grant already (epsilon {self.granted.epsilon:g}, "
                f"delta {self.granted.delta:g}): a grant is not enlarged, since results have been seen"
            )
        room = limit(epsilon, delta, order)
        if room <= 0:
            raise BudgetError(
                f"epsilon {epsilon:g} at delta {delta:g} has no room at order {order}: the conversion alone takes "
                f"{conversion(delta, order):.4f}; choose a larger order"
            )
        self.granted = Grant(epsilon, delta, order, room)
        return self.granted

    def price(self, event: AnyEvent) -> int | None:
        """What ``event`` costs here in nano units; None if nothing bounds it.

        Raises:
            BudgetError: there is no grant, so no order to price it at.
        """
        if isinstance(event, Unprotected):
            return None
        return charge(event, self._grant().order)

    def price_of(self, plan: Iterable[Planned]) -> int:
        """What the bounded part of ``plan`` costs, in nano units.

        Raises:
            BudgetError: there is no grant.
        """
        return sum((self.price(planned.event) or 0) * planned.times for planned in plan)

    def allow(self, study: str, plan: Sequence[Planned]) -> None:
        """Admit ``study`` and set its whole price aside.

        Raises:
            BudgetError: it was admitted before, does not fit, or asks for privacy that was given up.
        """
        if study in self.allowances:
            raise BudgetError(f"the study '{study}' has its allowance already, and only one")
        price = self.price_of(plan)
        private = not any(
            planned.purpose is Purpose.TRAIN and isinstance(planned.event, Unprotected) for planned in plan
        )
        if private:
            self._refuse_if_unprotected(study)
        if price:
            self._refuse_if_too_much(study, price)
        planned = Counter[tuple[Purpose, AnyEvent]]()
        for part in plan:
            planned[part.purpose, part.event] += part.times
        self.allowances[study] = Allowance(planned, price, private)
        self.set_aside += price

    def pay(self, study: str, purpose: Purpose, event: AnyEvent) -> None:
        """Pay one round of ``study`` from its allowance.

        Raises:
            BudgetError: the study is not admitted or closed, its plan does not name the event or not so often, or
                it asks for privacy that was given up.
        """
        allowance = self._allowance(study)
        if allowance.private:
            self._refuse_if_unprotected(study)
        if not allowance.planned[purpose, event]:
            raise BudgetError(
                f"the study '{study}' asks for a {purpose} round that is not, or no longer, in the plan it was "
                f"admitted with ({_described(event)}): the site pays for what it admitted and nothing else"
            )
        price = self.price(event)
        allowance.planned[purpose, event] -= 1
        allowance.paid[purpose, event] += 1
        if price is not None:
            allowance.set_aside -= price
            self.set_aside -= price
            self.spent += price
        elif purpose is Purpose.TRAIN:
            self.unprotected_by = self.unprotected_by or study
        else:
            self.held_out_protected = False

    def unused(self, study: str) -> int:
        """What of its allowance ``study`` has not used, in nano units.

        Raises:
            BudgetError: the study is not admitted, or closed.
        """
        return self._allowance(study).set_aside

    def give_back(self, study: str) -> None:
        """Close ``study``; what it has not used is left again.

        Raises:
            BudgetError: the study is not admitted, or closed already.
        """
        allowance = self._allowance(study)
        self.set_aside -= allowance.set_aside
        allowance.closed, allowance.set_aside = True, 0

    def epsilon_spent_by(self, study: str, delta: float) -> float | None:
        """What ``study`` alone has spent so far, at ``delta``; None if no epsilon bounds it.

        A study's rounds are fixed in advance by its terms, so the best order may be taken for it afterwards. What
        several studies spend together is the filter's to say, at its own order.

        Raises:
            BudgetError: the study was never admitted.
        """
        if study not in self.allowances:
            raise BudgetError(f"the study '{study}' has no allowance from the population '{self.population}'")
        allowance = self.allowances[study]
        bounded = [_times(event, times) for (_, event), times in allowance.paid.items()]
        return epsilon([event for event in bounded if event is not None], delta) if allowance.private else None

    @property
    def budget(self) -> Budget:
        """The figures as they stand."""
        granted = self.granted
        spent = self._epsilon(self.spent)
        committed = self._epsilon(self.spent + self.set_aside)
        return Budget(
            population=self.population,
            epsilon_granted=granted.epsilon if granted else None,
            delta=granted.delta if granted else None,
            order=granted.order if granted else None,
            limit=granted.limit if granted else 0,
            spent=self.spent,
            set_aside=self.set_aside,
            left=self._left,
            epsilon_spent=None if self.unprotected_by else _up(spent),
            epsilon_set_aside=_up(committed - spent),
            epsilon_left=0.0 if granted is None or self.unprotected_by else _down(self._epsilon_left),
            studies=len(self.allowances),
            protected=self.unprotected_by is None,
            held_out_protected=self.held_out_protected,
        )

    @property
    def _left(self) -> int:
        if self.granted is None or self.unprotected_by:
            return 0
        return self.granted.limit - self.spent - self.set_aside

    @property
    def _epsilon_left(self) -> Decimal:
        return Decimal(self._grant().epsilon) - self._epsilon(self.spent + self.set_aside)

    def _epsilon(self, amount: int) -> Decimal:
        """``amount`` in epsilon; nothing spent is epsilon 0, the first charge brings the conversion's share."""
        if self.granted is None or amount == 0:
            return Decimal(0)
        return max(Decimal(0), Decimal(amount) / NANO + conversion(self.granted.delta, self.granted.order))

    def _grant(self) -> Grant:
        if self.granted is None:
            raise BudgetError(
                f"the population '{self.population}' has no privacy budget: the data protection officer grants one "
                "before a study with privacy"
            )
        return self.granted

    def _allowance(self, study: str) -> Allowance:
        allowance = self.allowances.get(study)
        if allowance is None:
            raise BudgetError(f"the study '{study}' has no allowance from the population '{self.population}'")
        if allowance.closed:
            raise BudgetError(f"the study '{study}' is closed here: what it had not used went back")
        return allowance

    def _refuse_if_unprotected(self, study: str) -> None:
        if self.unprotected_by:
            raise BudgetError(
                f"the population '{self.population}' was trained on without privacy by the study "
                f"'{self.unprotected_by}': no epsilon describes it any more, so a study with privacy "
                f"('{study}') is refused"
            )

    def _refuse_if_too_much(self, study: str, price: int) -> None:
        if price > self._left:
            committed = self.spent + self.set_aside
            asked = self._epsilon(committed + price) - self._epsilon(committed)
            raise BudgetError(
                f"the study '{study}' asks for epsilon {_up(asked):.4f} of the population '{self.population}', "
                f"{_down(self._epsilon_left):.4f} is left of {self._grant().epsilon:g} "
                f"(delta {self._grant().delta:g}, order {self._grant().order})"
            )


def choose_order(epsilon: float, delta: float, typical: Sequence[Planned]) -> int:
    """The order at which a grant of (epsilon, delta) admits most of a ``typical`` study.

    Raises:
        BudgetError: the study has no bound, or no order leaves the grant any room.
    """
    events = [(planned.event, planned.times) for planned in typical]
    shares: dict[int, Fraction] = {}
    for order in ORDERS:
        price = sum(charge(event, order) * times for event, times in events if not isinstance(event, Unprotected))
        if price and (room := limit(epsilon, delta, order)) > 0:
            shares[order] = Fraction(room, price)
    if not shares:
        raise BudgetError(
            f"epsilon {epsilon:g} at delta {delta:g} admits nothing of a typical study at any order: grant a "
            "larger epsilon or delta, or name a typical study with noise"
        )
    return max(shares, key=lambda order: (shares[order], -order))


def _times(event: AnyEvent, times: int) -> SampledGaussian | Gaussian | None:
    """``times`` such events as one; none if it has no bound."""
    match event:
        case SampledGaussian():
            return event.model_copy(update={"steps": event.steps * times})
        case Gaussian():
            return event.model_copy(update={"count": event.count * times})
        case Unprotected():
            return None


_SHOWN: Final = Decimal("0.0001")  # epsilon is shown to four digits


def _up(value: Decimal) -> float:
    return float(value.quantize(_SHOWN, ROUND_CEILING))


def _down(value: Decimal) -> float:
    return float(max(Decimal(0), value).quantize(_SHOWN, ROUND_FLOOR))


def _described(event: AnyEvent) -> str:
    fields = ((name.replace("_", " "), value) for name, value in event.model_dump(exclude={"kind"}).items())
    return ", ".join([event.kind, *(f"{name} {value:g}" for name, value in fields)])
