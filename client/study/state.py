"""Define the state of a study at a site, as ``state.json`` holds it."""

from pydantic import Field

from client.site.registry import Registration
from privacy.document import Document
from privacy.protocol.headers import Evaluated


class ReleasedSeed(Document):
    """The one attempt of a round for which this site has released its mask."""

    round: int
    attempt: int
    cohort: tuple[str, ...]
    base: int


class Counted(Document):
    """This site's own totals for the model after round ``base``: noised once, sealed as often as needed.

    ``honest``: in a study of statistics, among how many sites the noise was divided; 0 where the site has added all of
    it.
    """

    base: int
    counts: tuple[int, ...]
    honest: int = 0


class AppliedRound(Document):
    """A round whose aggregate this site has opened: its key epoch, its sites, their public patient counts."""

    round: int
    epoch: int
    sites: tuple[str, ...]
    patients: tuple[int, ...]


class BestModel(Document):
    """The best evaluated model so far: that after ``round``, by ``models/federated/early_stopping.py``."""

    round: int
    sha256: str


class AtEdge(Document):
    """A round whose opened sum has ``values`` of its ``of`` values at the edge: the range does not hold them."""

    round: int
    values: int
    of: int


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
    edges: tuple[AtEdge, ...] = ()
    noise_multiplier: float | None = None
    evaluation_noise_multiplier: float | None = None
    released: ReleasedSeed | None = None
    noiseless_sums: dict[str, str] = Field(default_factory=dict)
    """For each model, by digest, the digest of the one cohort in which a sum without noise was released from it."""
    counted: Counted | None = None
    evaluations: tuple[Evaluated, ...] = ()
    best: BestModel | None = None
    applied: tuple[AppliedRound, ...] = ()
    ended_epochs: tuple[int, ...] = ()
    """Key epochs of which an aggregate did not open here: their keys are not used again."""
    longest_round_minutes: float = 0.0
    """How long the longest round took so far, where the policy bounds it."""
    withheld: str | None = None
    """SHA-256 of the model whose release waits for a person; None if none does."""
    closed: bool = False
