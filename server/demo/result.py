"""What the demonstration came to, as a document: printed as tables, and with ``--json``.

* The first figure is compared: the federation's is that of one study, the others are means of simulated trainings,
  with their standard deviation from one training to the next.
* A gain is positive where the federation is better, whether or not the figure is better when lower.
"""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from privacy.document import Document
from privacy.study.tasks.figures import FigureFacts, FigureName


class Trainings(NamedTuple):
    """The mean of a figure over simulated trainings, and its standard deviation from one to the next."""

    value: float | None
    spread: float | None


def summarise_trainings(found: Sequence[float | None]) -> Trainings:
    """Summarise what a figure was after each training.

    Args:
        found: one value for each training.

    Returns:
        Both None if the figure is not defined for one of them; no spread for a single training.

    >>> summarise_trainings([0.5, 0.5])
    Trainings(value=0.5, spread=0.0)
    """
    known = [each for each in found if each is not None]
    if not known or len(known) < len(found):
        return Trainings(None, None)
    return Trainings(fmean(known), stdev(known) if len(known) > 1 else None)


class Pooled(Document):
    """The first figure after simulated trainings on all hospitals' patients in one place.

    Attributes:
        figure: its name.
        value: the mean; null where a training has none.
        spread: the standard deviation over the trainings; null for one training.
    """

    figure: FigureName
    value: float | None
    spread: float | None


class Alone(Document):
    """The first figure after simulated trainings on one hospital's patients alone.

    Attributes:
        site: the hospital.
        figure: its name.
        value: the mean; null where a training has none.
        spread: the standard deviation over the trainings; null for one training.
    """

    site: str
    figure: FigureName
    value: float | None
    spread: float | None


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
    generated: bool
    """Whether the records are generated, and so nobody's."""
    rounds: int
    seconds: float
    figures: tuple[FigureFacts, ...]
    """What the figures are called, in the order of tables; the first one is compared with simulations."""
    federated: dict[FigureName, float | None]
    """Figures of the last evaluated model on all hospitals' held-out patients; null where one is not defined."""
    chance: float | None
    """How far as many other test patients would move the federation's first figure: a root mean square change."""
    test_patients_protected: bool
    """Whether the totals over test patients were opened with noise."""
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

    def compute_gains(self) -> tuple[float, ...]:
        """Compute how much better the federation's first figure is than each hospital's mean alone, where known."""
        first = self.figures[0]
        federated = self.federated[first.name]
        if federated is None:
            return ()
        sign = -1.0 if first.lower_is_better else 1.0
        return tuple(sign * (federated - alone.value) for alone in self.alone if alone.value is not None)
