"""The figures of a study's opened totals, with the effect of noise and chance."""

from dataclasses import asdict

from pydantic import ConfigDict

from models.tasks.binary import THRESHOLD, compute_metrics
from models.tasks.uncertainty import estimate_chance_errors, estimate_noise_errors, is_mostly_noise
from privacy import study
from privacy.document import Document
from privacy.protocol.headers import Evaluated
from privacy.study.cost import compute_evaluation_noise
from server.study.events import History


class Shown(Document):
    """A document for people; the docstring of a field is its description in the JSON schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)


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
    """Test patients counted, after negative cells were set to zero; noise included."""
    threshold: float
    """A score of at least this is a positive prediction; accuracy, sensitivity and specificity depend on it."""
    noise_deviation: float
    """Standard deviation of the noise in each cell of the totals, in patients; 0 without noise."""
    mostly_noise: bool
    """Whether noise is expected to add more patients than were counted: then ``noise`` is only a lower bound."""
    auroc: Figure
    accuracy: Figure
    sensitivity: Figure
    specificity: Figure


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


def _fits(terms: study.Terms, history: History, totals: Evaluated) -> bool:
    """Return whether a site's report can be totals of this study, which nothing else has checked."""
    return (
        totals.round in terms.evaluation.rounds
        and totals.opened_in in history.committed
        and len(totals.counts) == 2 * terms.evaluation.bins
    )


def compute_evaluation_result(terms: study.Terms, history: History, totals: Evaluated) -> EvaluationResult:
    """Compute the figures of opened totals, with the effect of noise and chance."""
    sites = history.committed[totals.opened_in].committed.cohort
    noise = compute_evaluation_noise(terms)
    # Every site of the cohort adds its own noise, so that the variances add up.
    deviation = 0.0 if noise is None else noise * len(sites) ** 0.5
    values, by_noise = compute_metrics(totals.counts), asdict(estimate_noise_errors(totals.counts, deviation))
    by_chance = asdict(estimate_chance_errors(totals.counts))
    figures = {
        name: Figure(value=getattr(values, name), noise=by_noise[name], chance=by_chance[name]) for name in by_noise
    }
    return EvaluationResult(
        after_round=totals.round,
        opened_in=totals.opened_in,
        sites=sites,
        patients=values.patients,
        threshold=THRESHOLD,
        noise_deviation=deviation,
        mostly_noise=is_mostly_noise(totals.counts, deviation),
        **figures,
    )
