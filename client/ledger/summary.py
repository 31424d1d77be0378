"""Summarise the ledger for a data protection officer: grants, what each study took in epsilon, what it still holds.

Amounts are epsilon at the order and delta of the grant that pays, as ``consilium-site budget`` shows them. A
study's share is what it alone would take of that grant, so shares of one grant add up to more than the grant's own
figure.
"""

from typing import NamedTuple

from privacy.accounting.figures import round_up
from privacy.audit.report.timeline import Study, Timeline
from privacy.ledger import LedgerState
from privacy.ledger.entries import Ending

_STATES = {
    Ending.FINISHED: "finished",
    Ending.WITHDRAWN: "withdrawn",
    Ending.GIVEN_UP: "given up",
    Ending.ABANDONED: "abandoned",
}


class StudyLine(NamedTuple):
    """One study in the summary: days are YYYY-MM-DD, epsilon is None if nothing bounds it."""

    study: str
    population: str
    admitted: str
    approved_by: str | None
    rounds_paid: int
    rounds_planned: int
    epsilon: float | None
    state: str


class Summary(NamedTuple):
    """What happened since a day: grants, studies, and the numbers of refusals and incidents."""

    grants: list[str]
    studies: list[StudyLine]
    refused: int
    incidents: int


def summarise(ledger_state: LedgerState, timeline: Timeline, since: str) -> Summary:
    """Summarise the ledger from the day ``since`` on (YYYY-MM-DD; empty: from the beginning)."""
    grants = [
        f"{each.at.time[:10]}: '{history.population}' was granted epsilon {each.grant.epsilon:g} at delta "
        f"{each.grant.delta:g}" + (", after results were seen" if each.after_results else "")
        for history in timeline.histories.values()
        for each in history.grants
        if each.at.time >= since
    ]
    return Summary(
        grants=grants,
        studies=[
            _make_study_line(ledger_state, timeline, study)
            for study in timeline.studies.values()
            if _is_active_since(study, since)
        ],
        refused=sum(note.at.time >= since for note in timeline.refusals),
        incidents=sum(note.at.time >= since for note in timeline.incidents),
    )


def _is_active_since(study: Study, since: str) -> bool:
    last = study.closed or study.last_paid or study.admitted
    return study.closed is None or last.time >= since


def _make_study_line(ledger_state: LedgerState, timeline: Timeline, study: Study) -> StudyLine:
    together = ledger_state.find_account_of_study(study.name).compute_committed_cost((study.name,))
    approvers = timeline.list_approvers(study)
    planned = sum(part.times for part in study.said.plan if part.purpose == "train")
    return StudyLine(
        study=study.name,
        population=study.said.population,
        admitted=study.admitted.time[:10],
        approved_by=", ".join(each.by for each in approvers) or None,
        rounds_paid=len(study.reserved),
        rounds_planned=planned,
        epsilon=None if together.epsilon is None else round_up(together.epsilon),
        state=_describe_state(study),
    )


def _describe_state(study: Study) -> str:
    if study.closed is None:
        return "open"
    if study.closed_by_recovery or study.ending is None:
        return f"closed by a recovery on {study.closed.time[:10]}"
    return f"{_STATES[study.ending]} on {study.closed.time[:10]}"
