"""Figures of a study's opened totals, as the coordinator's people see them."""

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
    """A document that people are shown; the docstring of a field is its description."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Figure(Shown):
    """Give one figure of a model, and how far it may be off."""

    value: float | None
    noise: float | None
    """Root mean square difference that the public noise makes to it; 0 without noise."""
    chance: float | None
    """Root mean square difference that other test patients, as many, would make to it."""


class EvaluationResult(Shown):
    """Tell how the shared model did on the test patients of all sites of a cohort, from opened totals."""

    after_round: int
    """The training round whose model was scored."""
    opened_in: int
    """The exchange that brought the totals."""
    sites: tuple[str, ...]
    """Whose test patients were counted."""
    patients: int
    """Test patients counted, after negative cells were set to zero; noise included."""
    threshold: float
    """A score of so much or more is a positive prediction; accuracy, sensitivity and specificity hang on it."""
    noise_deviation: float
    """Standard deviation of the noise in each cell of the totals, in patients; 0 without noise."""
    mostly_noise: bool
    """Whether noise made up more patients than were counted: then ``noise`` is only a lower bound."""
    auroc: Figure
    accuracy: Figure
    sensitivity: Figure
    specificity: Figure


def find_known_totals(terms: study.Terms, history: History) -> tuple[list[Evaluated], list[str]]:
    """Totals that count, in the order of their rounds, and remarks on those that do not.

    The last ones are known from sites that have closed, which nothing has compared before: two must have told them
    alike, or the only one that closed, and none otherwise.
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
    """Whether these can be totals of this study: what a site has said of itself shows nothing else."""
    return (
        totals.round in terms.evaluation.rounds
        and totals.opened_in in history.committed
        and len(totals.counts) == 2 * terms.evaluation.bins
    )


def compute_evaluation_result(terms: study.Terms, history: History, totals: Evaluated) -> EvaluationResult:
    """The figures of opened totals, with what noise and chance do to them."""
    sites = history.committed[totals.opened_in].committed.cohort
    noise = compute_evaluation_noise(terms)
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
