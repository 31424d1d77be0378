"""List what open studies hold of a budget and since when, and give back what abandoned studies hold.

A study sets its whole price aside at admission. If its coordinator never continues it and never closes it, nothing
frees what it has not used. So the terms say after how many days without an entry about it the site closes its
account.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from client.ledger.entry_text import describe_progress
from client.site.folder import SiteFolder
from privacy.accounting.figures import round_up
from privacy.errors import SiteConfigError
from privacy.ledger import Ledger, LedgerState
from privacy.ledger.entries import Ending, Entry


class Hold(NamedTuple):
    """What one open study holds.

    ``epsilon`` is what the grant would have more without the study; times are as entries write them.
    """

    study: str
    population: str
    grant: int | None
    epsilon: float
    since: str
    last_heard: str
    last_event: str
    given_back_on: str | None
    """A day; None if the study's folder is missing."""


def list_holds(state: LedgerState, home: SiteFolder) -> list[Hold]:
    """List what every open study holds, in the order of admission."""
    return [_make_hold(state, home, study) for study in list_open_studies(state)]


def list_open_studies(state: LedgerState) -> list[str]:
    """List studies whose account is not closed, in the order of admission in their populations."""
    return [
        study
        for account in state.accounts.values()
        for study, allowance in account.allowances.items()
        if not allowance.closed
    ]


def give_back_abandoned(ledger: Ledger, home: SiteFolder, now: datetime) -> list[str]:
    """Close the account of every study without an entry for as long as its terms allow; return these studies.

    Run by a site. A study that trains pays for each round, so a study that continues has entries.
    """
    state, closed = ledger.read_state(), list[str]()
    for study in list_open_studies(state):
        days, last = _read_abandon_days(home, study), state.find_last_entry(study)
        if days is not None and last is not None and now >= _compute_give_back_time(last, days):
            ledger.give_back(study, Ending.ABANDONED)
            closed.append(study)
    return closed


def _make_hold(state: LedgerState, home: SiteFolder, study: str) -> Hold:
    account = state.find_account_of_study(study)
    allowance = account.allowances[study]
    first, last = state.find_admission_entry(study), state.find_last_entry(study)
    assert first is not None, "an open study was admitted in this ledger"
    assert last is not None, "and that is something heard of it"
    epsilon = 0.0
    if allowance.grant is not None:
        filter_ = account.find_filter(allowance.grant)
        committed = filter_.spent + filter_.set_aside
        epsilon = round_up(filter_.epsilon_of(committed) - filter_.epsilon_of(committed - allowance.set_aside))
    days = _read_abandon_days(home, study)
    return Hold(
        study=study,
        population=account.population,
        grant=allowance.grant,
        epsilon=epsilon,
        since=first.time,
        last_heard=last.time,
        last_event=describe_progress(last.body),
        given_back_on=None if days is None else f"{_compute_give_back_time(last, days):%Y-%m-%d}",
    )


def _read_abandon_days(home: SiteFolder, study: str) -> int | None:
    from client.study.store import StudyStore  # numpy, which a site without an open study does without

    folder = home.find_study_folder(study)
    if not StudyStore.exists(folder):
        return None
    try:
        return StudyStore(folder).launch.terms.cohort.abandon_after_days
    except SiteConfigError:  # damaged: reported when the coordinator asks for the study
        return None


def _compute_give_back_time(last: Entry, days: int) -> datetime:
    return datetime.fromisoformat(last.time) + timedelta(days=days)
