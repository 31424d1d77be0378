"""Compute what a budget still admits: more studies like the last one, and what each order makes of a new grant.

Pure arithmetic on the figures of the ledger. The commands of the data protection officer show the results.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from client.admission.rules import compute_price
from privacy.accounting.account import Account
from privacy.accounting.grant_order import OrderChoice, choose_order, list_order_choices
from privacy.accounting.plan import Planned
from privacy.accounting.renyi import NANO
from privacy.errors import TermsError
from privacy.study import Terms


@dataclass(frozen=True)
class GrantRoom:
    """The room left: ``more`` further studies with the plan of the study ``like`` fit into what is left."""

    like: str
    more: int


def compute_grant_room(account: Account) -> GrantRoom | None:
    """Count how many more studies like the last admitted one fit.

    None if no study was admitted yet, or if the last one had no price.
    """
    if not account.allowances:
        return None
    study, last = list(account.allowances.items())[-1]
    if not last.private or last.grant is None:
        return None
    if account.unprotected_by is not None:
        return GrantRoom(study, 0)
    times = last.planned + last.paid
    plan = [Planned(purpose=purpose, event=event, times=count) for (purpose, event), count in times.items()]
    return GrantRoom(study, account.count_fitting(plan))


def has_produced_results(account: Account) -> bool:
    """Return whether a result computed from these patients has left: a round or totals were paid."""
    paid = any(allowance.paid for allowance in account.allowances.values())
    return paid or any(each.spent for each in account.filters)  # also what a recovery took over


@dataclass(frozen=True)
class OrderAdvice:
    """What each order would admit of the expected studies, the order taken, and the one that admits most."""

    choices: tuple[OrderChoice, ...]
    taken: OrderChoice
    best: OrderChoice


def advise_order(epsilon: float, delta: float, expected: Sequence[Terms], order: int | None = None) -> OrderAdvice:
    """Choose the order at which a grant of (epsilon, delta) is kept: ``order`` if given, else the best one.

    The best order is the one that admits most of the ``expected`` studies.

    Raises:
        BudgetError: no order leaves the grant room for any of them.
        TermsError: one of them has no privacy.
    """
    plan = [planned for terms in expected for planned in _make_expected_plan(terms)]
    choices = {choice.order: choice for choice in list_order_choices(epsilon, delta, plan)}
    best = choose_order(epsilon, delta, plan)
    taken = best if order is None else order
    return OrderAdvice(tuple(choices.values()), choices[taken], choices[best])


def compute_least_epsilon(advice: OrderAdvice) -> float:
    """Return the least epsilon that holds all expected studies once, at the best order for it; rounded up."""
    needed = min(choice.conversion + Decimal(choice.price) / NANO for choice in advice.choices)
    return float(needed.quantize(Decimal("0.001"), rounding=ROUND_CEILING))


def _make_expected_plan(terms: Terms) -> tuple[Planned, ...]:
    if terms.privacy.epsilon is None:
        raise TermsError(f"the study '{terms.name}' has no privacy (epsilon: none); name studies that have")
    return compute_price(terms).plan
