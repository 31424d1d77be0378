"""The figures of a study's opened totals, with the effect of noise and chance."""

from privacy import study
from privacy.document import Shown
from privacy.protocol.headers import Evaluated
from privacy.study.cost import compute_evaluation_noise, compute_totals_deviation
from privacy.study.tasks.figures import FigureName
from privacy.study.tasks.statistics import UNIT
from privacy.study.tasks.task import count_cells
from server.study.events import Finished, History, SiteClosed, TotalsOpened


class Figure(Shown):
    """One figure of a model, and how far noise and chance may change it."""

    value: float | None
    noise: float | None
    """Root mean square change of the figure by the public noise; 0 without noise."""
    chance: float | None
    """Root mean square change of the figure by as many other test patients."""


class EvaluationResult(Shown):
    """The figures of the shared model on the test patients of all sites of a cohort, from opened totals."""

    after_round: int
    """The training round whose model was scored."""
    opened_in: int
    """The exchange that brought the totals."""
    sites: tuple[str, ...]
    """The sites whose test patients were counted."""
    patients: int
    """Test patients counted, or their records where the terms count all; negative cells are zero, noise is included."""
    threshold: float | None
    """A score of at least this is a positive prediction; null for a task without positive predictions."""
    noise_deviation: float
    """Standard deviation of the noise in each cell that counts patients, in patients; 0 without noise."""
    mostly_noise: bool
    """Whether noise is expected to add more patients than were counted: then ``noise`` is only a lower bound."""
    figures: dict[FigureName, Figure]
    """The task's figures by name."""


def find_known_totals(terms: study.Terms, history: History) -> tuple[list[Evaluated], list[str]]:
    """Find the totals that count, in the order of their rounds, and remarks on those that do not.

    The last totals come from sites that have closed, and no header confirms them. They count if all sites that
    closed report the same, and these are at least two or the study is finished.
    """
    known = {each.round: each for each in history.totals.values() if _fits(terms, history, each)}
    told: dict[int, list[Evaluated]] = {}
    for closed in history.closed.values():
        if closed.evaluated and closed.evaluated.round not in known and _fits(terms, history, closed.evaluated):
            told.setdefault(closed.evaluated.round, []).append(closed.evaluated)
    remarks = []
    for number, several in told.items():
        if len(different := set(several)) > 1:
            remarks.append(
                f"sites that closed have told {len(different)} different totals after round {number}: no figures of "
                "it are shown"
            )
        elif len(several) > 1 or history.finished:
            known[number] = several[0]
    return [known[number] for number in sorted(known)], remarks


def find_told_totals(terms: study.Terms, history: History, event: object) -> list[Evaluated]:
    """Find the totals that the newest ``event`` tells, new or not: those that it brings, or all once a site closes."""
    match event:
        case TotalsOpened(evaluated=evaluated):
            return [evaluated] if _fits(terms, history, evaluated) else []
        case SiteClosed() | Finished():
            return find_known_totals(terms, history)[0]
    return []


def _fits(terms: study.Terms, history: History, totals: Evaluated) -> bool:
    """Return whether a site's report can be totals of this study, which nothing else has checked."""
    return (
        terms.evaluation.scores(totals.round)
        and totals.opened_in in history.committed
        and len(totals.counts) == count_cells(terms.cell_groups)
    )


def compute_evaluation_result(terms: study.Terms, history: History, totals: Evaluated) -> EvaluationResult:
    """Compute the figures of opened totals, with the effect of noise and chance."""
    from models.tasks.registry import find_threshold, make_task  # numpy, which most commands do without
    from models.tasks.uncertainty import (
        compute_first_deviation,
        estimate_chance_errors,
        estimate_noise_errors,
        is_mostly_noise,
    )

    sites = history.committed[totals.opened_in].committed.cohort
    noise = compute_evaluation_noise(terms)
    deviation = compute_totals_deviation(terms, noise, len(sites))
    task, groups, bins = make_task(terms.task, terms.data), terms.cell_groups, terms.evaluation.bins
    by_noise = estimate_noise_errors(task, groups, totals.counts, bins, deviation)
    by_chance = estimate_chance_errors(task, groups, totals.counts, bins)
    figures = {
        name: Figure(value=value, noise=by_noise[name], chance=by_chance[name])
        for name, value in task.compute_figures(totals.counts, bins).items()
    }
    return EvaluationResult(
        after_round=totals.round,
        opened_in=totals.opened_in,
        sites=sites,
        patients=task.count_patients(totals.counts, bins),
        threshold=find_threshold(terms.task),
        noise_deviation=compute_first_deviation(groups, deviation) / (UNIT if terms.counts_only else 1),
        mostly_noise=is_mostly_noise(groups, totals.counts, deviation),
        figures=figures,
    )
