"""What the demonstration came to, as a document: printed as tables, and with ``--json``."""

from privacy.document import Document


class Figures(Document):
    """Figures of a model on all hospitals' held-out patients; null where one is not defined."""

    auroc: float | None
    accuracy: float | None
    sensitivity: float | None
    specificity: float | None


class Pooled(Document):
    """The mean AUROC of a simulated training on all hospitals' patients in one place."""

    auroc: float | None


class Alone(Document):
    """The mean AUROC of a simulated training on one hospital's patients alone."""

    site: str
    auroc: float | None


class HospitalBudget(Document):
    """What the study cost one hospital's patients."""

    name: str
    patients: int
    epsilon: float | None
    delta: float | None
    epsilon_left: float | None


class DemoResult(Document):
    """One demonstration."""

    study: str
    private: bool
    rounds: int
    seconds: float
    federated: Figures
    alone: tuple[Alone, ...]
    pooled: Pooled
    sites: tuple[HospitalBudget, ...]
    parameters: int
    bytes_up: int
    bytes_down: int
    seconds_per_round: float
    model_sha256: str
    dir: str | None
    """The folder, if it was kept."""
