"""Decide whether a study fits into a population's privacy budget; count what is granted, set aside and spent.

Pure arithmetic, without I/O. The site's ledger and its auditor apply the same entries to it.

Rules:

* A grant is (epsilon, delta) at **one order, fixed when it is granted**. Studies are chosen in view of earlier
  results, and a Rényi filter is a theorem about a fixed order (Feldman and Zrnic 2021, arXiv 2008.11193, sections 3
  and 4): whatever is chosen next, everything together is (epsilon, delta)-DP as long as the charges at that order
  stay within the limit.
* A grant is never changed. A further grant is a filter of its own. The epsilons and deltas of a population's grants
  add, also for studies that run at once (concurrent composition, Vadhan and Zhang 2023, arXiv 2207.08335).
* A study is paid from one grant: the first that has room for all of it.
* At admission a study's whole price is set aside. Its rounds are paid from that and from nothing else, so no study
  is refused in its ninth round of ten. What the study has not used comes back when it closes.
* A round is paid in full when it is reserved, whatever happens to it afterwards.
* A round is paid only if the study's plan names it: same noise, same rate, same number of steps.
* Training without privacy marks the population: no epsilon describes it any more, and studies with privacy are
  refused from then on. Evaluation without noise marks the held-out patients only, who are never trained on.
* A population's deltas together are at most one over its patients: over the most that the rounded public count may
  stand for. A larger delta would allow publishing one patient's record.
* A refusal changes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from privacy.accounting.epsilon import compute_epsilon_offset, compute_renyi_limit, epsilon_of
from privacy.accounting.events import AnyEvent, Unprotected, repeat_event
from privacy.accounting.figures import Budget, round_down, round_up
from privacy.accounting.grant_order import round_down_to_two_digits
from privacy.accounting.plan import Planned, Purpose, describe_event
from privacy.accounting.renyi import STORED_ORDERS
from privacy.accounting.renyi_filter import BudgetGrant, RenyiFilter
from privacy.errors import BudgetError

PUBLIC_COUNT_STEP: Final = 10
"""A site's public patient count is rounded down to a multiple of this."""


def compute_most_patients(public: int) -> int:
    """Return the largest number of patients that the ``public`` count may stand for."""
    return public + PUBLIC_COUNT_STEP


@dataclass
class Allowance:
    """The events that one study may still cause, the price set aside for it, and the grant that pays."""

    planned: Counter[tuple[Purpose, AnyEvent]]
    grant: int | None
    set_aside: int
    private: bool
    paid: Counter[tuple[Purpose, AnyEvent]] = field(default_factory=Counter)
    closed: bool = False


class CombinedCost(NamedTuple):
    """Cost of several studies together: the sum over the grants that pay, each at its own order and delta.

    ``epsilon`` is None if one of the studies has no bound.
    """

    epsilon: Decimal | None
    delta: float


@dataclass
class Account:
    """A population's grants and the studies paid from them.

    A method checks and records, or raises and changes nothing. Grants are numbered from 1, in the order in which
    they were given.
    """

    population: str
    filters: list[RenyiFilter] = field(default_factory=list)
    allowances: dict[str, Allowance] = field(default_factory=dict)
    unprotected_by: str | None = None
    held_out_protected: bool = True

    @property
    def delta(self) -> float:
        """Sum of the deltas of all grants."""
        return sum(each.granted.delta for each in self.filters)

    def require_fitting_delta(self, delta: float, patients: int) -> None:
        """Check that a further ``delta`` fits a population whose public count is ``patients``.

        Raises:
            BudgetError: with the earlier grants it is more than one over the patients; names a delta that fits.
        """
        most, together = compute_most_patients(patients), self.delta + delta
        if together * most <= 1:
            return
        room = 1 / most - self.delta
        fits = f"ask for at most {round_down_to_two_digits(room):g}" if room > 0 else "no further grant fits"
        before = f", with the grants before it {together:g}," if self.filters else ""
        raise BudgetError(
            f"delta {delta:g}{before} is more than one in the {most} patients that '{self.population}' may have: it "
            f"would allow publishing one patient's record; {fits}"
        )

    def add_grant(self, epsilon: float, delta: float, order: int) -> BudgetGrant:
        """Add a grant of (epsilon, delta), kept at ``order``.

        Raises:
            BudgetError: ``order`` leaves (epsilon, delta) no room, or is not one of ``STORED_ORDERS``.
        """
        if order not in STORED_ORDERS:
            raise BudgetError(
                f"a grant is kept at one of the orders {', '.join(map(str, STORED_ORDERS))}; got {order}"
            )
        room = compute_renyi_limit(epsilon, delta, order)
        if room <= 0:
            raise BudgetError(
                f"epsilon {epsilon:g} at delta {delta:g} has no room at order {order}: the conversion alone takes "
                f"{compute_epsilon_offset(delta, order):.4f}; choose a larger order"
            )
        granted = BudgetGrant(epsilon, delta, order, room)
        self.filters.append(RenyiFilter(granted))
        return granted

    def find_grant(self, study: str, plan: Sequence[Planned]) -> int | None:
        """Return the number of the first grant with room for all of ``plan``; None if nothing in it has a price.

        Raises:
            BudgetError: no grant has room.
        """
        if not _has_bounded_event(plan):
            return None
        if not self.filters:
            raise BudgetError(
                f"the population '{self.population}' has no privacy budget: the data protection officer grants one "
                "before a study with privacy"
            )
        number, roomiest = self.find_paying_filter(plan)
        if roomiest.compute_plan_price(plan) <= roomiest.left:
            return number
        granted = roomiest.granted
        asked = roomiest.compute_epsilon_increase(roomiest.compute_plan_price(plan))
        raise BudgetError(
            f"the study '{study}' asks for epsilon {round_up(asked):.4f} of the population '{self.population}', "
            f"{round_down(roomiest.epsilon_left):.4f} is left of "
            f"{granted.epsilon:g} (delta {granted.delta:g}, order {granted.order})"
        )

    def find_paying_filter(self, plan: Sequence[Planned]) -> tuple[int, RenyiFilter]:
        """Return number and filter of the grant that would pay for ``plan``: the first with room for all of it.

        Where none has room it is the one with most epsilon left. There must be a grant.
        """
        numbered = list(enumerate(self.filters, start=1))
        fitting = (each for each in numbered if each[1].compute_plan_price(plan) <= each[1].left)
        return next(fitting, None) or max(numbered, key=lambda each: each[1].epsilon_left)

    def count_fitting(self, plan: Sequence[Planned]) -> int:
        """Return how many studies of ``plan`` fit in what all grants have left."""
        return sum(each.count_fitting(plan) for each in self.filters)

    def find_filter(self, grant: int) -> RenyiFilter:
        """Return the filter of grant number ``grant``.

        Raises:
            BudgetError: there is no such grant.
        """
        if not 1 <= grant <= len(self.filters):
            raise BudgetError(
                f"the population '{self.population}' has {len(self.filters)} grants, not number {grant}"
            )
        return self.filters[grant - 1]

    def allow(self, study: str, plan: Sequence[Planned], grant: int | None) -> None:
        """Admit ``study``, which is paid from ``grant``, and set its whole price aside.

        Raises:
            BudgetError: the study was admitted before, does not fit, or has privacy although the population was
                trained on without it.
        """
        if study in self.allowances:
            raise BudgetError(f"the study '{study}' has its allowance already, and only one")
        private = not any(
            planned.purpose is Purpose.TRAIN and isinstance(planned.event, Unprotected) for planned in plan
        )
        if private:
            self._refuse_if_unprotected(study)
        expected = self.find_grant(study, plan)
        if grant != expected:
            raise BudgetError(
                f"the study '{study}' is paid from grant {expected}, not {grant}: the first with room"
            )
        price = 0 if grant is None else self.find_filter(grant).compute_plan_price(plan)
        planned = Counter[tuple[Purpose, AnyEvent]]()
        for part in plan:
            planned[part.purpose, part.event] += part.times
        self.allowances[study] = Allowance(planned, grant, price, private)
        if grant is not None:
            self.find_filter(grant).set_aside += price

    def compute_price(self, study: str, event: AnyEvent) -> int | None:
        """Return what ``event`` costs ``study`` at the order of the grant that pays; None if it has no bound.

        Raises:
            BudgetError: the study is not admitted or is closed, or no grant pays for it.
        """
        allowance = self._find_open_allowance(study)
        if isinstance(event, Unprotected):
            return None
        if allowance.grant is None:
            raise BudgetError(f"the study '{study}' was admitted without a price, so no grant pays for this")
        return self.find_filter(allowance.grant).compute_price(event)

    def pay(self, study: str, purpose: Purpose, event: AnyEvent) -> None:
        """Pay one round of ``study`` from its allowance.

        Raises:
            BudgetError: the study is not admitted or is closed; its plan does not name the event, or not so often;
                or it has privacy although the population was trained on without it.
        """
        allowance = self._find_open_allowance(study)
        if allowance.private:
            self._refuse_if_unprotected(study)
        if not allowance.planned[purpose, event]:
            raise BudgetError(
                f"the study '{study}' asks for a round to {purpose} that is not, or no longer, in the plan it was "
                f"admitted with ({describe_event(event)}): the site pays for what it admitted and nothing else"
            )
        price = self.compute_price(study, event)
        allowance.planned[purpose, event] -= 1
        allowance.paid[purpose, event] += 1
        if price is not None and allowance.grant is not None:
            filter_ = self.find_filter(allowance.grant)
            allowance.set_aside -= price
            filter_.set_aside -= price
            filter_.spent += price
        elif purpose is Purpose.TRAIN:
            self.unprotected_by = self.unprotected_by or study
        else:
            self.held_out_protected = False

    def read_unused_amount(self, study: str) -> int:
        """Return what ``study`` has not used of its allowance, in nano units.

        Raises:
            BudgetError: the study is not admitted, or closed.
        """
        return self._find_open_allowance(study).set_aside

    def give_back(self, study: str) -> None:
        """Close ``study`` and give what it has not used back to its grant.

        Raises:
            BudgetError: the study is not admitted, or closed already.
        """
        allowance = self._find_open_allowance(study)
        if allowance.grant is not None:
            self.find_filter(allowance.grant).set_aside -= allowance.set_aside
        allowance.closed, allowance.set_aside = True, 0

    def spend_open_allowances(self) -> None:
        """Close every open study and count all that was set aside as spent.

        It is not known how much of it was used, so all of it counts.
        """
        for allowance in self.allowances.values():
            if not allowance.closed:
                if allowance.grant is not None:
                    self.find_filter(allowance.grant).spent += allowance.set_aside
                    self.find_filter(allowance.grant).set_aside -= allowance.set_aside
                allowance.closed, allowance.set_aside = True, 0
                if not allowance.private:
                    self.unprotected_by = self.unprotected_by or "a study that was open"
                if allowance.planned[Purpose.EVALUATE, Unprotected()]:
                    self.held_out_protected = False
                allowance.paid.update(allowance.planned)
                allowance.planned.clear()

    def take_over(self, number: int, granted: BudgetGrant, spent: int) -> None:
        """Raise what grant ``number`` has spent to what a witness has seen; add the grant if it is new.

        Raises:
            BudgetError: the grant has other figures here, or a grant before it is missing.
        """
        if number == len(self.filters) + 1:
            self.add_grant(granted.epsilon, granted.delta, granted.order)
        filter_ = self.find_filter(number)
        if filter_.granted != granted:
            raise BudgetError(f"grant {number} of the population '{self.population}' was given otherwise")
        filter_.spent = max(filter_.spent, spent)

    def compute_study_epsilon(self, study: str, delta: float) -> float | None:
        """Return the epsilon that ``study`` alone has spent so far, at ``delta``; None if nothing bounds it.

        A study's terms fix its rounds in advance, so the best order may be chosen afterwards. What several studies
        spend together is counted by the grant, at its own order.

        Raises:
            BudgetError: the study was never admitted.
        """
        events = self.list_paid_events(study)
        return epsilon_of(events, delta) if self.allowances[study].private else None

    def list_paid_events(self, study: str) -> list[AnyEvent]:
        """List the events that ``study`` has paid for so far, without those that have no bound.

        Raises:
            BudgetError: the study was never admitted.
        """
        if study not in self.allowances:
            raise BudgetError(f"the study '{study}' has no allowance from the population '{self.population}'")
        paid = self.allowances[study].paid.items()
        return [repeat_event(event, times) for (_, event), times in paid if not isinstance(event, Unprotected)]

    def compute_committed_cost(self, studies: Iterable[str]) -> CombinedCost:
        """Return what ``studies`` together have spent and still have set aside.

        Raises:
            BudgetError: one of them was never admitted.
        """
        amounts = Counter[int]()
        bounded = True
        for study in studies:
            if study not in self.allowances:
                raise BudgetError(f"the study '{study}' has no allowance from the population '{self.population}'")
            allowance = self.allowances[study]
            bounded = bounded and allowance.private
            if allowance.grant is not None:
                filter_ = self.find_filter(allowance.grant)
                paid = sum(
                    (filter_.compute_price(event) or 0) * times for (_, event), times in allowance.paid.items()
                )
                amounts[allowance.grant] += paid + allowance.set_aside
        epsilon = sum((self.find_filter(grant).epsilon_of(amount) for grant, amount in amounts.items()), Decimal(0))
        delta = sum(self.find_filter(grant).granted.delta for grant in amounts)
        return CombinedCost(epsilon if bounded else None, delta)

    @property
    def budget(self) -> Budget:
        """Current figures of the population."""
        grants = tuple(filter_.figures for filter_ in self.filters)
        spent = sum((filter_.epsilon_of(filter_.spent) for filter_ in self.filters), Decimal(0))
        committed = sum(
            (filter_.epsilon_of(filter_.spent + filter_.set_aside) for filter_ in self.filters), Decimal(0)
        )
        left = sum((filter_.epsilon_left for filter_ in self.filters), Decimal(0))
        return Budget(
            population=self.population,
            epsilon_granted=sum(grant.epsilon for grant in grants) if grants else None,
            delta=sum(grant.delta for grant in grants) if grants else None,
            epsilon_spent=None if self.unprotected_by else round_up(spent),
            epsilon_set_aside=round_up(committed - spent),
            epsilon_left=0.0 if self.unprotected_by else round_down(left),
            studies=len(self.allowances),
            protected=self.unprotected_by is None,
            held_out_protected=self.held_out_protected,
            grants=grants,
        )

    def _find_open_allowance(self, study: str) -> Allowance:
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


def _has_bounded_event(plan: Iterable[Planned]) -> bool:
    return any(not isinstance(planned.event, Unprotected) for planned in plan)
