"""Compute which studies still fit in a population's budget, by its ledger.

Rules:

* A study is paid from one grant: the first with room for all of it. Prices are computed as in the ledger
  (``privacy/accounting/renyi_filter.py``, at each grant's order), so an answer of 3 means that the site would admit
  3 studies, and no fourth.
* What is set aside for studies that are still open is not left. It may come back when they close.
"""

from collections.abc import Sequence

from privacy.accounting.account import Account
from privacy.accounting.calibration import GRID, MOST_NOISE, bisect_noise
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import SampledGaussian, Unprotected, repeat_event
from privacy.accounting.figures import round_down, round_up
from privacy.accounting.plan import Planned, Purpose
from privacy.accounting.renyi_filter import RenyiFilter
from privacy.document import Document
from privacy.errors import BudgetError
from privacy.ledger import LedgerState


class Room(Document):
    """What still fits in one grant. ``left`` and prices are in nano units of Renyi divergence at ``order``."""

    grant: int
    epsilon: float
    delta: float
    order: int
    left: int
    epsilon_left: float
    price_of_round: int
    price_of_study: int
    epsilon_of_study: float
    """By how much the next such study would raise the grant's epsilon."""
    rounds: int
    studies: int


class WhatIf(Document):
    """What would fit: ``studies`` whole studies, or one study with up to ``rounds`` rounds of training."""

    site: str
    key: str
    key_given: bool
    entries: int
    population: str
    like: str | None
    training: tuple[Planned, ...]
    """The rounds of one such study."""
    rounds_to_do: int | None
    """The training rounds that the study ``like`` has not done yet; they are set aside for it already."""
    epsilon_alone: float
    """What a study's training costs at ``delta`` with no other study: the epsilon that its terms would state."""
    delta: float
    """The smallest delta of the grants."""
    rounds: int
    studies: int
    grants: tuple[Room, ...]


class Shape(Document):
    """A study's training, without its noise multiplier."""

    rounds: int
    steps: int
    sampling_rate: float

    def make_planned_training(self, noise_multiplier: float) -> Planned:
        """Return the training with this noise multiplier."""
        event = SampledGaussian(
            noise_multiplier=noise_multiplier, sampling_rate=self.sampling_rate, steps=self.steps
        )
        return Planned(purpose=Purpose.TRAIN, event=event, times=self.rounds)


def find_least_noise(account: Account, shape: Shape, studies: int) -> float:
    """Find the least noise multiplier, in whole millionths, with which so many studies fit in what is left.

    Raises:
        BudgetError: no noise multiplier up to a million is enough.
    """

    def fit(noise: int) -> int:
        plan = [shape.make_planned_training(noise / GRID)]
        return account.count_fitting(plan)

    if fit(MOST_NOISE) < studies:
        raise BudgetError(
            f"no noise lets {studies} such studies fit in what is left of the population '{account.population}' "
            f"({_format_epsilon_left(account)}): ask for fewer studies, rounds or steps, or for a further grant"
        )
    return bisect_noise(lambda noise: fit(noise) >= studies, MOST_NOISE) / GRID


def find_usable_account(state: LedgerState, population: str) -> Account:
    """Return the population's account; refuse one from which no study with privacy can be paid.

    Raises:
        BudgetError: the population was trained on without privacy, or has no grant.
        LedgerError: it is not registered.
    """
    account = state.find_account(population)
    if not account.budget.protected:
        raise BudgetError(
            f"the population '{population}' was trained on without privacy: no epsilon describes it any more, and no "
            "study with privacy is admitted"
        )
    if not account.filters:
        raise BudgetError(
            f"the population '{population}' has no privacy budget: the data protection officer grants one first"
        )
    return account


def find_plan(state: LedgerState, study: str) -> Sequence[Planned]:
    """Return the plan with which a study of the ledger was admitted.

    Raises:
        BudgetError: it was never admitted, or no grant pays for its training.
    """
    allowed = state.find_allowance(study)
    if allowed is None:
        raise BudgetError(
            f"the study '{study}' was never admitted in this ledger: name one that was, or describe one"
        )
    if not _list_training_rounds(allowed.plan):
        raise BudgetError(
            f"the study '{study}' has no training that a grant pays for, so no grant limits its rounds: name a study "
            "with an epsilon"
        )
    return allowed.plan


def _list_training_rounds(plan: Sequence[Planned]) -> tuple[Planned, ...]:
    """List the training rounds that a grant pays for."""
    return tuple(part for part in plan if part.purpose is Purpose.TRAIN and not isinstance(part.event, Unprotected))


def _compute_room(number: int, filter_: RenyiFilter, plan: Sequence[Planned]) -> Room:

    granted, price = filter_.granted, filter_.compute_plan_price(plan)
    price_of_round = max(filter_.compute_price(part.event) or 0 for part in _list_training_rounds(plan))
    without_training = filter_.compute_plan_price(part for part in plan if part.purpose is not Purpose.TRAIN)
    return Room(
        grant=number,
        epsilon=granted.epsilon,
        delta=granted.delta,
        order=granted.order,
        left=filter_.left,
        epsilon_left=round_down(filter_.epsilon_left),
        price_of_round=price_of_round,
        price_of_study=price,
        epsilon_of_study=round_up(filter_.compute_epsilon_increase(price)),
        rounds=max(0, filter_.left - without_training) // price_of_round,
        studies=filter_.count_fitting(plan),
    )


def compute_answer(
    state: LedgerState, key_given: bool, account: Account, plan: Sequence[Planned], like: str | None
) -> WhatIf:
    """Compute how many studies of ``plan`` fit in each grant of ``account``; ``like`` names the study whose plan it is.

    Raises:
        BudgetError: the study ``like`` was never admitted.
    """
    training = _list_training_rounds(plan)
    grants = tuple(_compute_room(number, filter_, plan) for number, filter_ in enumerate(account.filters, start=1))
    delta = min(grant.delta for grant in grants)
    return WhatIf(
        site=state.site,
        key=state.key.typed,
        key_given=key_given,
        entries=state.head.number,
        population=account.population,
        like=like,
        training=training,
        rounds_to_do=None if like is None else _count_rounds_to_do(state, like),
        epsilon_alone=epsilon_of([repeat_event(part.event, part.times) for part in training], delta),
        delta=delta,
        rounds=max(grant.rounds for grant in grants),
        studies=sum(grant.studies for grant in grants),
        grants=grants,
    )


def _count_rounds_to_do(state: LedgerState, study: str) -> int:

    allowance = state.find_account_of_study(study).allowances[study]
    if allowance.closed:
        return 0
    return sum(times for (purpose, _), times in allowance.planned.items() if purpose is Purpose.TRAIN)


def _format_epsilon_left(account: Account) -> str:

    return ", ".join(
        f"epsilon {round_down(filter_.epsilon_left):.4f} of {filter_.granted.epsilon:g}"
        for filter_ in account.filters
    )
