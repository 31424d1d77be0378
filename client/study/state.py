"""Define the state of a study at a site, as ``state.json`` holds it.

It is replaced whole at every change, so nothing in it grows with the rounds; what does is in ``history.jsonl``
(``client/study/history.py``).
"""

from client.site.registry import Registration
from client.study.history import HistoryMark
from privacy.document import Document


class ReleasedSeed(Document):
    """The one attempt of a round for which this site has released its mask."""

    round: int
    attempt: int
    cohort: tuple[str, ...]
    base: int


class BegunAttempt(Document):
    """The attempt of a round of which this site began to send blocks last, whether or not it was sealed whole."""

    round: int
    attempt: int


class Counted(Document):
    """This site's own totals for the model after round ``base``: noised once, sealed as often as needed.

    ``honest``: in a study of statistics, among how many sites the noise was divided; 0 where the site has added all of
    it.
    """

    base: int
    counts: tuple[int, ...]
    honest: int = 0


class BestModel(Document):
    """The best evaluated model so far: that after ``round``, by ``models/federated/early_stopping.py``."""

    round: int
    sha256: str


class StudyState(Document):
    """How far this site has come in a study."""

    base: int = 0
    model_sha256: str
    patients: int
    """The public patient count with which this study was admitted."""
    registration: Registration
    """The files with which it was admitted; what is registered later is for later studies."""
    objections: tuple[str, ...] = ()
    """Keyed digests of patients who had objected when it was admitted: they take no part in it."""
    reference: int | None = None
    halvings: int = 0
    """How often the terms' value range is halved in the next round."""
    noise_multiplier: float | None = None
    evaluation_noise_multiplier: float | None = None
    begun: BegunAttempt | None = None
    released: ReleasedSeed | None = None
    counted: Counted | None = None
    best: BestModel | None = None
    history: HistoryMark = HistoryMark()
    """How much of ``history.jsonl`` holds."""
    ended_epochs: tuple[int, ...] = ()
    """Key epochs of which an aggregate did not open here: their keys are not used again."""
    longest_round_minutes: float = 0.0
    """How long the longest round took so far, where the policy bounds it."""
    withheld: str | None = None
    """SHA-256 of the model whose release waits for a person; None if none does."""
    closed: bool = False
