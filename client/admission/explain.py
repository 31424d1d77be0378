"""Explain what a study would cost this site's patients, and whether this site would admit it, before the approval.

Rules:

* the judgement is that of admission (``client/admission/rules.py``); the price is that of the ledger
  (``privacy/accounting/account.py``), computed on a copy of the account;
* every reason against the study is listed, not only the first;
* which sites take part is not judged: this is known only when the study is launched.
"""

from collections.abc import Collection, Sequence
from copy import deepcopy
from decimal import Decimal
from typing import NamedTuple

from client.admission.decisions import find_automatic_rule
from client.admission.quotas import EarlierStudy
from client.admission.rules import Price, compute_price, list_refusal_reasons
from client.site.policy import Policy
from client.site.registry import Registration
from privacy.accounting.account import Account
from privacy.accounting.figures import round_down, round_up
from privacy.accounting.plan import Purpose
from privacy.accounting.renyi import NANO
from privacy.accounting.renyi_filter import RenyiFilter
from privacy.document import Document
from privacy.errors import BudgetError
from privacy.study import Terms
from privacy.study.cost import compute_price_of_runs


class Reason(Document):
    """A reason for which the study would be refused: the rule's code, and a sentence."""

    code: str
    sentence: str


class Cost(Document):
    """What the study would take from one grant, in epsilon at the grant's order and delta.

    The share of a round is Rényi divergence. ``conversion`` is what the first charge of a grant costs in addition,
    once a grant.
    """

    grant: int
    order: int
    round: float
    rounds: int
    evaluation: float
    evaluations: int
    conversion: float
    total: float
    left_before: float
    left_after: float | None


class RunsCost(Document):
    """What several runs of the study would take, charged one after the other as the ledger would charge them.

    ``epsilon`` is summed over the grants that pay, at their orders: for all runs if all of them fit, else for the
    ``fitting`` ones. ``alone`` is the cost of the runs by themselves if their number is fixed in advance, at the
    study's delta.
    """

    runs: int
    fitting: int
    epsilon: float
    alone: float
    alone_evaluation: float | None


class Explanation(Document):
    """A study as this site judges it.

    ``epsilon`` and ``delta`` are the promise of this study alone, without what the patients have spent elsewhere.
    """

    study: str
    terms: str
    epsilon: float | None
    delta: float | None
    noise_multiplier: float | None
    counts_only: bool
    """Whether it is a study of statistics, which trains nothing."""
    evaluated: bool
    evaluation_epsilon: float | None
    evaluation_noise_multiplier: float | None
    population: str | None
    cost: Cost | None
    runs: RunsCost | None
    persons: int
    """How many people must still agree to a launch; 0 where a rule of the policy or an approval admits it."""
    admitted: bool
    """Whether nothing but that is against it."""
    reasons: tuple[Reason, ...]


def explain_study(
    terms: Terms,
    *,
    policy: Policy,
    registration: Registration | None,
    approved: bool,
    account: Account | None,
    weights: Collection[str] = (),
    device: str = "auto",
    earlier: Sequence[EarlierStudy] = (),
    runs: int | None = None,
) -> Explanation:
    """Explain what ``terms`` would cost here, and list every reason for which this site would refuse them.

    Args:
        terms: the study.
        policy: this site's rules.
        registration: its files for the study's contract.
        approved: whether people have approved these terms ahead of a launch.
        account: a copy of the population's account, which is changed; None if the ledger does not know the files.
        weights: SHA-256 of the public weights that this site has.
        device: what ``site.yaml`` lets training run on.
        earlier: studies that were admitted here, for the quotas.
        runs: if given, also compute what so many runs would cost together.
    """
    figures = None if account is None else account.budget
    against = list_refusal_reasons(
        terms,
        policy=policy,
        registration=registration,
        account=figures,
        weights=weights,
        device=device,
        earlier=earlier,
    )
    reasons = [Reason(code=each.code, sentence=str(each)) for each in against]
    price = cost = together = None
    try:
        price = compute_price(terms)
        if account is not None:
            cost = _compute_cost(price, account)
            together = None if runs is None or cost is None else _charge_runs(terms, price, deepcopy(account), runs)
            account.allow(terms.name, price.plan, account.find_grant(terms.name, price.plan))
    except BudgetError as error:
        if not any(each.code == "budget" for each in reasons):
            reasons.append(Reason(code="budget", sentence=str(error)))
    return Explanation(
        study=terms.name,
        terms=terms.digest,
        epsilon=terms.privacy.epsilon,
        delta=terms.privacy.delta,
        noise_multiplier=None if price is None else price.noise_multiplier,
        counts_only=terms.counts_only,
        evaluated=bool(terms.evaluation.rounds),
        evaluation_epsilon=terms.evaluation.epsilon,
        evaluation_noise_multiplier=None if price is None else price.evaluation_noise_multiplier,
        population=None if registration is None else registration.population,
        cost=cost,
        runs=together,
        persons=0 if find_automatic_rule(terms, None, policy) else max(0, policy.persons - int(approved)),
        admitted=not reasons,
        reasons=tuple(reasons),
    )


def _compute_cost(price: Price, account: Account) -> Cost | None:
    """Compute the cost at the grant that would pay; where none has room, at the one with most left."""
    if not account.filters or (price.noise_multiplier is None and price.evaluation_noise_multiplier is None):
        return None
    number, filter_ = account.find_paying_filter(price.plan)
    divergence = filter_.compute_plan_price(price.plan)
    fits = divergence <= filter_.left
    total = filter_.compute_epsilon_increase(divergence)
    trained, evaluated = (_compute_part(price, filter_, purpose) for purpose in (Purpose.TRAIN, Purpose.EVALUATE))
    # prices are rounded up and what is left is rounded down: the figures never promise too much
    return Cost(
        grant=number,
        order=filter_.granted.order,
        round=trained.epsilon,
        rounds=trained.times,
        evaluation=evaluated.epsilon,
        evaluations=evaluated.times,
        conversion=round_up(total - Decimal(divergence) / NANO),
        total=round_up(total),
        left_before=round_down(filter_.epsilon_left),
        left_after=round_down(filter_.epsilon_left - total) if fits else None,
    )


def _charge_runs(terms: Terms, price: Price, account: Account, runs: int) -> RunsCost:
    """Charge one run after the other, until one does not fit."""
    before, fitting = [filter_.set_aside for filter_ in account.filters], 0
    for number in range(runs):
        study = f"run {number + 1} of '{terms.name}'"
        try:
            account.allow(study, price.plan, account.find_grant(study, price.plan))
        except BudgetError:
            break
        fitting += 1
    rises = Decimal(0)
    for filter_, aside in zip(account.filters, before, strict=True):
        # set back to before the runs, so that the increase of all of them is computed from there
        asked, filter_.set_aside = filter_.set_aside - aside, aside
        rises += filter_.compute_epsilon_increase(asked)
    alone = compute_price_of_runs(terms, runs)
    return RunsCost(
        runs=runs,
        fitting=fitting,
        epsilon=round_up(rises),
        alone=round_up(Decimal(alone.training)),
        alone_evaluation=None if alone.evaluation is None else round_up(Decimal(alone.evaluation)),
    )


class _Part(NamedTuple):
    """How often something is charged, and what it costs each time."""

    times: int
    epsilon: float


def _compute_part(price: Price, filter_: RenyiFilter, purpose: Purpose) -> _Part:
    for planned in price.plan:
        if planned.purpose is purpose:
            return _Part(planned.times, round_up(Decimal(filter_.compute_price(planned.event) or 0) / NANO))
    return _Part(0, 0.0)
