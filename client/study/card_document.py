"""The document ``release/card.json``: the card of a released model; ``card.md`` has the same facts for people.

Every figure comes from the terms, from opened totals or from the ledger, never from records.
"""

from typing import Literal

from pydantic import Field, JsonValue

from client.study.history import AtEdge
from privacy.document import Document
from privacy.study import Adapters, Choice, Neighbouring, Placement, Unit
from privacy.study.tasks.figures import FigureFacts, FigureName


class ModelFacts(Document):
    """The model: its name, version and options in the catalogue, and which layers were trained."""

    name: str
    version: int
    options: dict[str, JsonValue]
    inputs: dict[str, str]
    parameters: int
    start: str | None
    frozen: tuple[str, ...]
    trained: tuple[str, ...]
    adapters: Adapters | None
    personal: tuple[str, ...]
    sha256: str


class CardRounds(Document):
    """Rounds that were planned and applied, and the cohort of each."""

    planned: int
    applied: int
    sites: dict[str, tuple[str, ...]]


class PrivacyFacts(Document):
    """The promise to patients, and the mechanism that keeps it."""

    private: bool
    epsilon: float | None
    delta: float | None
    unit: Unit
    neighbouring: Neighbouring
    placement: Placement
    clipping_norm: float | None
    last_clipping_norm: float | None
    participation: float
    noise_multiplier: float | None
    accountant: str
    updates_sealed: bool
    test_patients_protected: bool
    evaluation_epsilon: float | None


class EvaluationFacts(Document):
    """Figures of the shared model on the test patients of a cohort; null where one is not defined.

    ``noise`` is what the public noise does to each figure: a root mean square difference.
    """

    after_round: int
    patients: int
    figures: dict[FigureName, float | None]
    noise: dict[FigureName, float | None]


class LedgerFacts(Document):
    """The ledger's last entry when the card was written."""

    number: int
    hash: str


class SiteFacts(Document):
    """The site that wrote this card."""

    name: str
    patients_about: int
    epsilon_spent_by_this_study: float | None
    epsilon_left: float | None
    ledger: LedgerFacts


class ChoiceFacts(Document):
    """Which model is released, and by which figure of which totals it was chosen."""

    asked: Choice
    after_round: int
    is_best: bool
    figure: FigureName
    value: float | None
    evaluations: int
    paid: bool


class EndFacts(Document):
    """When training ended."""

    after_round: int
    early: bool
    patience: int | None


class LaunchFacts(Document):
    """Other launches of the study at this site: the best of k runs costs what k runs cost."""

    name: str
    seen: int
    same_terms: int
    studies: tuple[str, ...]
    epsilon_together: float | None
    delta_together: float | None
    whole_ledger: bool


class RangeFacts(Document):
    """The range of values, and the rounds whose sum it did not hold."""

    value_range: float | Literal["auto"]
    bits: int
    at_edge: tuple[AtEdge, ...]


class AloneFacts(Document):
    """A training by one site alone, with a filter for each patient, of whom each pays for some of its steps."""

    kind: str
    steps: int
    paid_steps: int


class ModelCard(Document):
    """The contents of ``card.json``."""

    card: Literal[1] = 1
    study: str
    purpose: str
    terms_sha256: str
    model: ModelFacts
    contract_sha256: str
    task: str
    threshold: float | None
    figures: tuple[FigureFacts, ...]
    rounds: CardRounds
    privacy: PrivacyFacts
    evaluation: tuple[EvaluationFacts, ...]
    site: SiteFacts
    choice: ChoiceFacts
    ended: EndFacts
    launches: LaunchFacts
    range: RangeFacts
    alone: AloneFacts | None = Field(default=None, exclude_if=lambda alone: alone is None)
