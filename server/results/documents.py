"""The documents of a study's results, as ``consilium study show``, ``compare`` and ``list`` print with ``--json``.

Rules:

* they contain what the coordinator may know: opened totals, public quantities, and the events that it has recorded;
* a figure that is not defined, or not known yet, is null;
* ``server/results/read.py`` builds them; docs/commands.md lists every key with the docstrings below.
"""

from pydantic import JsonValue

from models.tasks.statistics_document import Statistics
from privacy.document import Shown
from privacy.study import Choice, Placement, Unit
from privacy.study.tasks.figures import FigureFacts, FigureName, FigureTitle
from server.study.events import StudyStatus
from server.study.figures import EvaluationResult, Figure
from server.study.sites import SiteStatus as SiteStanding


class RoundsSummary(Shown):
    """The numbers of a study's rounds."""

    planned: int
    """Training rounds of the terms."""
    applied: int
    """Training rounds whose sum was opened or can be: the number of steps that the model has made."""
    void: int
    """Training rounds that were paid and changed nothing."""
    left: int
    """Training rounds that are still to come, if the study runs to its end."""
    evaluated: int
    """Evaluations whose totals are known."""
    evaluations_planned: int


class TermsSummary(Shown):
    """A summary of the study's terms."""

    purpose: str
    sha256: str
    model: str
    options: dict[str, JsonValue]
    parameters: int
    """Number of parameters that are trained together."""
    task: str
    """The kind of the task."""
    predicts: str
    """What is predicted, in words."""
    inputs: dict[str, str]
    """What it is predicted from, by name: columns of a table, or types and shapes of arrays."""
    local_steps: int
    sampling_rate: float
    learning_rate: float
    cohort_minimum: int
    cohort_maximum: int


class Promise(Shown):
    """The privacy that the terms promise to patients."""

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
    """Whether no one can read the update of a single site."""


class SiteResult(Shown):
    """The part of one invited site."""

    name: str
    state: SiteStanding
    """The status of the site in the study, as far as it is known."""
    why: str
    """Why it is out, is absent, has refused or has not decided."""
    waits_since: str | None
    """Since when its people are asked, where they have not decided; UTC, by the site's clock."""
    contact: str | None
    """Whom to call about the decision, as the site says; it may be empty."""
    patients_about: int | None
    """The patient count that the site makes public."""
    program: str | None
    """The program that it runs, version and digest of its code, as it says; null before it has joined."""
    rounds: int
    """Number of sums that contain its update."""
    epsilon_spent: float | None
    """By this study at this site, training and totals together, as last signed; null before or without privacy."""


class Movement(Shown):
    """Bytes and seconds of the applied training rounds."""

    bytes_up: int | None
    """What one site sends in one round, on average."""
    bytes_down: int | None
    """What one site receives in one round, on average."""
    seconds_per_round: float | None
    """Mean over the applied rounds."""
    seconds: float | None
    """From the first message to the newest event."""
    seconds_left: float | None
    """Estimate for an open study: median of the last rounds times exchanges to come; null before a round."""


class ReleasedSummary(Shown):
    """The model that the sites release, or would release if the study ended now."""

    choice: Choice
    after_round: int
    """The last applied training round, or that of the best evaluation; 0 means the untrained model."""


class StudyResults(Shown):
    """The results of one study: ``study show`` prints one; ``study compare`` prints several under ``studies``."""

    study: str
    standing: StudyStatus
    why: str
    """Why it is stopped or waits; else empty."""
    began: str
    """When it first ran (UTC); empty before."""
    terms: TermsSummary
    privacy: Promise
    rounds: RoundsSummary
    figures: tuple[FigureFacts, ...]
    """What the figures of evaluations are called, in their order; the first one chooses the best model."""
    evaluations: tuple[EvaluationResult, ...]
    statistics: Statistics | None
    """What a study of statistics has found; null before, and for a study that trains."""
    remarks: tuple[str, ...]
    """Warnings that belong to the figures."""
    released: ReleasedSummary
    sites: tuple[SiteResult, ...]
    movement: Movement


class NewestFigure(Shown):
    """The figure that chooses the best model, of the newest evaluation."""

    name: FigureName
    title: FigureTitle
    figure: Figure


class StudySummary(Shown):
    """A summary of one study: ``study list`` prints all of them under ``studies``."""

    study: str
    standing: StudyStatus
    why: str
    rounds: RoundsSummary
    sites: tuple[str, ...]
    """The invited sites."""
    out: dict[str, str]
    """Sites that take no part until they are re-admitted, and why."""
    deciding: dict[str, str]
    """Sites whose people have not decided yet, with since when, and whom to call."""
    epsilon: float | None
    """The promised one; null without privacy."""
    figure: NewestFigure | None
    """Null before an evaluation."""
