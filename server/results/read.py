"""Build a study's results from its journal and the headers that sites have signed.

Rules:

* a figure comes from totals that all members of a cohort have opened alike, or from public quantities;
* where sites that closed reported different totals, no figure of them is shown, and a remark says so;
* a figure that depends on a threshold is shown with it only, and every figure with its noise;
* training rounds are counted, not exchanges: the closing evaluation does not count, and a void round is not
  applied.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from models.federated.early_stopping import RankedEvaluations
from models.tasks.registry import list_figures
from models.tasks.statistics_document import Statistics, describe_statistics
from privacy import study
from privacy.protocol.headers import Evaluated
from privacy.secure_aggregation.schemes.registry import SCHEMES
from privacy.study import Choice
from privacy.study.launch import Launch
from privacy.study.summary import describe_inputs, describe_prediction
from server.results.documents import (
    Movement,
    NewestFigure,
    Promise,
    ReleasedSummary,
    RoundsSummary,
    SiteResult,
    StudyResults,
    StudySummary,
    TermsSummary,
)
from server.results.tally import SiteTally, Tally, average_rounds
from server.study.events import History, StudyStatus
from server.study.figures import compute_evaluation_result, find_known_totals
from server.study.journal import Journal
from server.study.sites import SiteStatus as SiteStanding


def read_results(folder: Path) -> StudyResults:
    """Read everything that the coordinator may know of the study in ``folder``.

    Raises:
        FederationError: the journal cannot be read.
    """
    with Journal(folder) as journal:
        launch, history = journal.read_launch().statement, journal.read_history()
        standing = _read_status(history, journal)
        tally, began = Tally(), None
        for note in journal.read_notes():
            began = note.time if began is None else began
            tally.add_note(note)
    totals, remarks = find_known_totals(launch.terms, history)
    rounds = _count_rounds(launch.terms, history, len(totals))
    return StudyResults(
        study=launch.study,
        standing=standing,
        why=history.stopped or history.waiting or "",
        began="" if began is None else f"{datetime.fromtimestamp(began, UTC):%Y-%m-%d %H:%M:%S}",
        terms=_build_terms(launch),
        privacy=_build_promise(launch.terms),
        rounds=rounds,
        figures=list_figures(launch.terms.task, launch.terms.data),
        evaluations=tuple(compute_evaluation_result(launch.terms, history, each) for each in totals),
        statistics=_describe_statistics(launch, history, totals),
        remarks=(*tally.warnings, *remarks),
        released=_build_released(launch.terms, history, totals),
        sites=tuple(_build_site_result(name, history, tally) for name in launch.names),
        movement=_build_movement(launch.terms, history, tally, began, standing),
    )


def _read_status(history: History, journal: Journal) -> StudyStatus:
    if history.given_up:
        return StudyStatus.GIVEN_UP
    return StudyStatus.WAITING if history.waiting else journal.read_status()


def read_summary(folder: Path) -> StudySummary:
    """Read the summary of the study in ``folder``.

    Raises:
        FederationError: the journal cannot be read.
    """
    with Journal(folder) as journal:
        launch, history = journal.read_launch().statement, journal.read_history()
        standing = _read_status(history, journal)
    totals, _ = find_known_totals(launch.terms, history)
    return StudySummary(
        study=launch.study,
        standing=standing,
        why=history.stopped or history.waiting or "",
        rounds=_count_rounds(launch.terms, history, len(totals)),
        sites=launch.names,
        out=dict(history.out),
        deciding={
            name: f"since {each.since}{f', call {each.contact}' if each.contact else ''}"
            for name, each in history.deciding.items()
        },
        epsilon=launch.terms.privacy.epsilon,
        figure=_build_newest_figure(launch.terms, history, totals[-1]) if totals else None,
    )


def _build_newest_figure(terms: study.Terms, history: History, totals: Evaluated) -> NewestFigure:
    first = list_figures(terms.task, terms.data)[0]
    figure = compute_evaluation_result(terms, history, totals).figures[first.name]
    return NewestFigure(name=first.name, title=first.title, figure=figure)


def _count_rounds(terms: study.Terms, history: History, evaluated: int) -> RoundsSummary:
    planned = terms.training.rounds
    ended = history.finished or len(history.closed) > 0
    return RoundsSummary(
        planned=planned,
        applied=sum(terms.trains(number) for number in history.committed),
        void=sum(terms.trains(number) for number in history.void),
        left=0 if ended else max(0, planned - history.next_round + 1),
        evaluated=evaluated,
        evaluations_planned=len(terms.evaluation.rounds),
    )


def _build_terms(launch: Launch) -> TermsSummary:
    terms = launch.terms
    return TermsSummary(
        purpose=terms.purpose,
        sha256=terms.digest,
        model=terms.model.label,
        options=terms.model.options,
        parameters=launch.parameters,
        task=terms.task.kind,
        predicts=describe_prediction(terms),
        inputs=describe_inputs(terms),
        local_steps=terms.training.local_steps,
        sampling_rate=terms.training.sampling_rate,
        learning_rate=terms.training.learning_rate,
        cohort_minimum=terms.cohort.minimum,
        cohort_maximum=terms.cohort.maximum,
    )


def _describe_statistics(launch: Launch, history: History, totals: Sequence[Evaluated]) -> Statistics | None:
    if not launch.terms.counts_only or not totals:
        return None
    cohort = history.committed[totals[-1].opened_in].committed.cohort
    return describe_statistics(launch.study, launch.terms, totals[-1].counts, cohort)


def _build_promise(terms: study.Terms) -> Promise:
    privacy = terms.privacy
    return Promise(
        private=privacy.epsilon is not None,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        unit=privacy.unit,
        placement=privacy.placement,
        clipping_norm=privacy.clipping_norm,
        evaluation_epsilon=terms.evaluation.epsilon,
        sealed=SCHEMES[terms.secure_aggregation.scheme].masked,
    )


def _build_released(terms: study.Terms, history: History, totals: Sequence[Evaluated]) -> ReleasedSummary:
    last = max((number for number in history.committed if terms.trains(number)), default=0)
    best = None
    if terms.release.model is Choice.BEST:
        best = RankedEvaluations(terms, (each.counts for each in totals)).best
    return ReleasedSummary(choice=terms.release.model, after_round=last if best is None else totals[best].round)


def _build_site_result(name: str, history: History, tally: Tally) -> SiteResult:
    headers = [
        (number, event.committed.headers[name].statement)
        for number, event in sorted(history.committed.items())
        if name in event.committed.headers
    ]
    seen, closed = tally.sites.get(name, SiteTally()), history.closed.get(name)
    newest = headers[-1][1] if headers else None
    spent = closed.epsilon_spent if closed else newest.epsilon_spent if newest else None
    state, why = seen.standing, seen.why
    if name in history.out:
        state, why = SiteStanding.OUT, history.out[name]
    elif closed or state is SiteStanding.MEMBER:
        why = ""
    elif state is SiteStanding.OUT:  # by the newest note, but no longer by the history
        state, why = SiteStanding.EXPECTED, "re-admitted"
    deciding = history.deciding.get(name)
    if deciding is not None:
        state, why = SiteStanding.DECIDING, deciding.sentence
    return SiteResult(
        name=name,
        state=state,
        why=why,
        waits_since=None if deciding is None else deciding.since,
        contact=None if deciding is None else deciding.contact,
        patients_about=newest.patients if newest else None,
        program=history.programs[name].short if name in history.programs else None,
        rounds=len(headers),
        epsilon_spent=spent,
    )


def _build_movement(
    terms: study.Terms, history: History, tally: Tally, began: float | None, standing: StudyStatus
) -> Movement:
    rounds = [each for number, each in tally.rounds.items() if each.committed and terms.trains(number)]
    average = average_rounds(rounds)
    return Movement(
        bytes_up=average and average.bytes_up,
        bytes_down=average and average.bytes_down,
        seconds_per_round=average and average.seconds,
        seconds=None if began is None else tally.now - began,
        seconds_left=tally.seconds_left if standing is StudyStatus.OPEN else None,
    )
