"""``consilium-audit whatif``: which studies still fit in a population's budget, by its ledger.

Rules:

* The ledger is verified first; a ledger that does not verify gives no answer.
* A study is paid from one grant: the first with room for all of it. Prices are computed as in the ledger
  (``privacy/accounting/renyi_filter.py``, at each grant's order), so an answer of 3 means that the site would admit
  3 studies, and no fourth.
* What is set aside for studies that are still open is not left. It may come back when they close.
* A study described by ``--rounds`` has training only. A study like another one has that one's evaluations too.
"""

from collections.abc import Sequence
from decimal import Decimal
from math import isnan
from pathlib import Path
from typing import Any

import click

from privacy.accounting.account import Account
from privacy.accounting.calibration import GRID, MOST_NOISE, bisect_noise
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import AnyEvent, SampledGaussian, Unprotected, repeat_event
from privacy.accounting.figures import round_down, round_up
from privacy.accounting.plan import Planned, Purpose, describe_event
from privacy.accounting.renyi_filter import RenyiFilter
from privacy.audit.read_ledger import parse_key, read_ledger
from privacy.command_line import print_json, print_table, print_text
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


class _Finite(click.FloatRange):
    """A number in a range; NaN is refused, which ``click.FloatRange`` accepts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        return self.fail(f"{value} is not a number", param, ctx) if isnan(number) else number


@click.command()
@click.argument("ledger", metavar="LEDGER", type=click.Path(path_type=Path))
@click.option("--population", metavar="NAME", required=True, help="Whose budget.")
@click.option(
    "--like", metavar="STUDY", help="Studies like this one of the ledger: how many rounds, how many studies?"
)
@click.option("--studies", type=click.IntRange(1, 10_000), help="So many studies: which noise multiplier fits?")
@click.option(
    "--noise-multiplier", type=_Finite(0.01, 1e6), help="Studies with this noise multiplier: how many fit?"
)
@click.option("--rounds", type=click.IntRange(1, 10_000), help="Rounds of training in a study.")
@click.option("--steps", type=click.IntRange(1, 100_000), help="DP-SGD steps in a round.")
@click.option("--sampling-rate", type=_Finite(1e-9, 1), help="Each patient's chance to be in a step, 0 < q <= 1.")
@click.option("--key", metavar="PUBLICKEY", help="The site's public key, as the site gave it to you.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def whatif(
    ledger: Path,
    population: str,
    like: str | None,
    studies: int | None,
    noise_multiplier: float | None,
    rounds: int | None,
    steps: int | None,
    sampling_rate: float | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Compute what would still fit in the budget of a population, by LEDGER.

    Ask one of three questions: --like STUDY; or --studies N, which noise multiplier lets N studies fit; or
    --noise-multiplier X, how many studies with it fit. The last two describe a study by --rounds, --steps and
    --sampling-rate.
    """
    if sum(each is not None for each in (like, studies, noise_multiplier)) != 1:
        raise click.UsageError("ask one question: --like, --studies or --noise-multiplier")
    if like is not None and any(each is not None for each in (rounds, steps, sampling_rate)):
        raise click.UsageError("--like takes rounds, steps and sampling rate from the study: leave them out")
    given = None if key is None else parse_key(key)
    state = read_ledger(ledger, given)[1]
    account = _require_usable_account(state, population)
    if like is not None:
        plan = _find_plan(state, like)
    elif rounds is None or steps is None or sampling_rate is None:
        raise click.UsageError("describe a study: --rounds, --steps and --sampling-rate")
    else:
        shape = Shape(rounds=rounds, steps=steps, sampling_rate=sampling_rate)
        plan = [shape.make_planned_training(noise_multiplier or find_least_noise(account, shape, studies or 1))]
    answer = _compute_answer(state, given is not None, account, plan, like)
    if as_json:
        print_json(answer.model_dump(mode="json"))
    else:
        _print_answer(answer)


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


def _require_usable_account(state: LedgerState, population: str) -> Account:
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


def _find_plan(state: LedgerState, study: str) -> Sequence[Planned]:
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


def _compute_answer(
    state: LedgerState, key_given: bool, account: Account, plan: Sequence[Planned], like: str | None
) -> WhatIf:
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


def _describe_event_exactly(event: AnyEvent) -> str:
    """Describe an event with all digits of its noise: with less noise the study may not fit."""
    if isinstance(event, SampledGaussian):
        noise = str(event.noise_multiplier).removesuffix(".0")
        return f"noise multiplier {noise}, sampling rate {event.sampling_rate:g}, steps {event.steps}"
    return describe_event(event)


def _format_epsilon_left(account: Account) -> str:
    return ", ".join(
        f"epsilon {round_down(filter_.epsilon_left):.4f} of {filter_.granted.epsilon:g}"
        for filter_ in account.filters
    )


def _print_answer(answer: WhatIf) -> None:
    origin = "as given" if answer.key_given else "from the ledger itself: compare it with what the site gave you"
    lines = [
        f"site         {answer.site}",
        f"key          {answer.key} ({origin})",
        f"complete     up to entry {answer.entries}",
        f"population   {answer.population}",
        *(f"a study      {part.times} rounds: {_describe_event_exactly(part.event)}" for part in answer.training),
        f"alone        epsilon {round_up(Decimal(answer.epsilon_alone)):.4f} at delta {answer.delta:g}, its rounds "
        "fixed in advance",
        f"would fit    {answer.studies} such studies, or one of up to {answer.rounds} rounds",
    ]
    if answer.rounds_to_do:
        lines.append(
            f"set aside    '{answer.like}' itself has {answer.rounds_to_do} rounds to do, paid for already"
        )
    print_text("\n".join([*lines, ""]))
    print_table(
        ["grant", "epsilon", "delta", "order", "left", "a study adds", "rounds", "studies"],
        [
            [
                str(room.grant),
                f"{room.epsilon:g}",
                f"{room.delta:g}",
                str(room.order),
                f"{room.epsilon_left:.4f}",
                f"{room.epsilon_of_study:.4f}",
                str(room.rounds),
                str(room.studies),
            ]
            for room in answer.grants
        ],
    )
