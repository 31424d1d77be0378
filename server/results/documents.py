"""What a coordinator may know of a study's results: opened totals, public quantities, and what it has seen happen.

Documents only, as ``consilium study show``, ``compare`` and ``list`` print them with ``--json``;
``server/results/read.py`` makes them. A figure that is not defined, or not known yet, is null.
"""

from pydantic import JsonValue

from privacy.study import Choice, Placement, Unit
from server.study.figures import EvaluationResult, Figure, Shown
from server.study.journal import StudyStatus
from server.study.sites import SiteStatus as SiteStanding


class Rounds(Shown):
    """Count a study's rounds."""

    planned: int
    """Training rounds of the terms."""
    applied: int
    """Training rounds whose sum was opened or can be: the model has moved so many times."""
    void: int
    """Training rounds that were paid and yielded nothing."""
    left: int
    """Training rounds that are still to come, if the study goes on to its end."""
    evaluated: int
    """Evaluations whose totals are known."""
    evaluations_planned: int


class Terms(Shown):
    """Tell the study's terms in short."""

    purpose: str
    sha256: str
    model: str
    options: dict[str, JsonValue]
    parameters: int
    """Trained together."""
    label: str
    columns: tuple[str, ...]
    local_steps: int
    sampling_rate: float
    learning_rate: float
    cohort_minimum: int
    cohort_maximum: int


class Promise(Shown):
    """Tell what the terms promise to patients."""

    private: bool
    epsilon: float | None
    """For a training patient, over the whole study; null without privacy."""
    delta: float | None
    unit: Unit
    placement: Placement
    clipping_norm: float | None
    evaluation_epsilon: float | None
    """For a test patient; null where their totals are opened without noise."""
    sealed: bool
    """Whether nobody can read a lone update."""


class SiteResult(Shown):
    """Tell one invited site's part."""

    name: str
    state: SiteStanding
    """How the study stands with it, as far as is known."""
    why: str
    """Why it is out, absent, or refused."""
    patients_about: int | None
    """As the site makes it public."""
    rounds: int
    """Sums that hold its update."""
    epsilon_spent: float | None
    """By this study at this site, training and totals together, as it last signed; null before, and without privacy."""


class Movement(Shown):
    """Tell what the applied training rounds moved and took."""

    bytes_up: int | None
    """A site and round, from the site's side."""
    bytes_down: int | None
    seconds_per_round: float | None
    """Mean of the applied rounds."""
    seconds: float | None
    """From the first message to the newest event."""
    seconds_left: float | None
    """Estimate for an open study: the median of the last rounds, for all exchanges to come; null before a round."""


class Released(Shown):
    """Tell which model the sites release, or would if the study ended now."""

    choice: Choice
    after_round: int
    """The last applied training round, or that of the best evaluation; 0 is the untrained model."""


class StudyResults(Shown):
    """Tell one study: ``study show``; ``study compare`` prints several under ``studies``."""

    study: str
    standing: StudyStatus
    why: str
    """Why it stands still."""
    began: str
    """When it was first driven (UTC); empty before."""
    terms: Terms
    privacy: Promise
    rounds: Rounds
    evaluations: tuple[EvaluationResult, ...]
    remarks: tuple[str, ...]
    """What a reader of the figures must know."""
    released: Released
    sites: tuple[SiteResult, ...]
    movement: Movement


class StudySummary(Shown):
    """Tell one study in a line: ``study list`` prints all of them under ``studies``."""

    study: str
    standing: StudyStatus
    why: str
    rounds: Rounds
    sites: tuple[str, ...]
    """The invited ones."""
    out: dict[str, str]
    """Sites that take no part until they are re-admitted, and why."""
    epsilon: float | None
    """Promised; null without privacy."""
    auroc: Figure | None
    """Of the newest evaluation."""
