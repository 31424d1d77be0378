"""Check a site's quotas: how much epsilon studies may ask for in all, by operator and in any 365 days.

Rules:

* counted is what studies have asked for in their terms, training and evaluation together, whatever they have used of
  it; a study that was closed before it paid for anything does not count;
* the ledger knows each of them: it holds what was asked of people about every launch (``privacy/ledger/entries.py``:
  ``Require``), and when it was admitted;
* a study without privacy has no epsilon to count. A policy allows one for named populations only.

Epsilons are added, which is never less than what the studies cost together. The budget that was granted is another
bound, and the ledger keeps it exactly (``privacy/ledger/ledger.py``).
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from client.site.policy import Policy
from privacy.errors import RefusedError
from privacy.keys import PublicKey
from privacy.ledger import LedgerState
from privacy.refusal_codes import RefusalCode
from privacy.study import Terms

YEAR: Final = timedelta(days=365)


class EarlierStudy(NamedTuple):
    """A study that was admitted: what it asked for, for whom, and when (UTC)."""

    study: str
    operator_key: str
    epsilon: float
    admitted: datetime


def list_earlier_studies(state: LedgerState, but: str | None = None) -> list[EarlierStudy]:
    """List the studies with privacy that were admitted, and were not closed before they paid for anything.

    ``but`` is left out: the study in question, whose admission a crash may have interrupted after it was recorded.
    """
    found = []
    for required in state.decisions.list_required():
        entry = state.find_admission_entry(required.study)
        if entry is None or required.epsilon is None or required.study == but:
            continue
        allowance = state.find_account_of_study(required.study).allowances[required.study]
        if allowance.closed and not allowance.paid:
            continue
        admitted = datetime.fromisoformat(entry.time)
        found.append(EarlierStudy(required.study, required.operator_key, required.epsilon, admitted))
    return found


def list_quota_reasons(
    terms: Terms, operator: PublicKey | None, policy: Policy, earlier: Sequence[EarlierStudy], now: datetime
) -> Iterator[RefusedError]:
    """List which quotas a study would exceed.

    Args:
        terms: the study.
        operator: the key of who launched it; None before a launch.
        policy: this site's rules.
        earlier: studies that were admitted here.
        now: UTC.
    """
    asked = terms.asked_epsilon
    if asked is None:
        return
    if policy.epsilon_per_year is not None:
        used = _add(each.epsilon for each in earlier if now - each.admitted.astimezone(UTC) < YEAR)
        if used + _add([asked]) > _add([policy.epsilon_per_year]):
            yield RefusedError(
                RefusalCode.POLICY,
                f"the study asks for epsilon {asked:g}; the studies of the last 365 days have asked for "
                f"{used} of the {policy.epsilon_per_year:g} that this site allows in a year",
            )
    if policy.epsilon_per_operator is not None and operator is not None:
        used = _add(each.epsilon for each in earlier if each.operator_key == operator.text)
        if used + _add([asked]) > _add([policy.epsilon_per_operator]):
            yield RefusedError(
                RefusalCode.POLICY,
                f"the study asks for epsilon {asked:g}; the studies of its operator have asked for {used} "
                f"of the {policy.epsilon_per_operator:g} that this site allows one operator",
            )


def _add(epsilons: Iterable[float]) -> Decimal:
    """Add epsilons as they are written: three of 0.1 are 0.3."""
    return sum((Decimal(str(each)) for each in epsilons), Decimal(0))
