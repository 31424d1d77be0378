"""The notes of a study, for the people who watch it: what was sent, what came, and what followed.

Rules:

* a note has phases, names, bytes, the privacy spent (epsilon), and figures of totals that sites have opened. It has
  nothing else that is computed from records;
* the journal keeps notes, ``consilium study watch`` streams them, and ``server/results/tally.py`` adds them up;
* notes never decide anything: the study is built again from its events alone.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from privacy.document import Document
from privacy.errors import FederationError
from privacy.refusal_codes import RefusalCode
from privacy.study.tasks.figures import FigureFacts
from server.study.events import StudyStatus
from server.study.figures import EvaluationResult
from server.study.sites import SiteStatus
from server.study.state import Phase


class _Note(Document):
    number: int = 0
    """The note's place in the journal, from 1; 0 before it is written."""
    time: float = 0.0
    """When it was written, in seconds since 1970 by the coordinator's clock."""
    phase: Phase | None = None
    """The study's phase then."""


class StudyBegan(_Note):
    """A process has started or continued the study."""

    kind: Literal["study"] = "study"
    private: bool
    sealed: bool
    exchanges: int
    """Exchanges of the whole study, the closing evaluation included."""
    figures: tuple[FigureFacts, ...]
    """What the figures of totals are called, in their order; the first one chooses the best model."""


class RequestSent(_Note):
    """A request was sent to a site; ``bytes`` is the size of the whole message."""

    kind: Literal["asked"] = "asked"
    site: str
    what: str
    bytes: int
    round: int | None = None
    attempt: int | None = None


class ReplyReceived(_Note):
    """A site's reply was verified; ``bytes`` is the size of the whole message."""

    kind: Literal["answered"] = "answered"
    site: str
    what: str
    bytes: int
    round: int | None = None
    attempt: int | None = None
    epsilon: float | None = None
    """What the study has cost the site's patients so far, by the site."""
    code: RefusalCode | None = None
    text: str | None = None
    """The site's sentence, if it could not do what it was asked."""


class RoundDone(_Note):
    """A round's sum is complete; its aggregate is stored."""

    kind: Literal["committed"] = "committed"
    round: int
    attempt: int
    sites: tuple[str, ...]


class RoundVoided(_Note):
    """A round was given up because of sites that were away too long."""

    kind: Literal["void"] = "void"
    round: int
    sites: tuple[str, ...]


class StudyStopped(_Note):
    """The study was stopped."""

    kind: Literal["stopped"] = "stopped"
    why: str


class FiguresOpened(_Note, EvaluationResult):
    """Totals are known; their figures."""

    kind: Literal["figures"] = "figures"


class Remark(_Note):
    """A sentence on the study, or on one site and its status."""

    kind: Literal["note"] = "note"
    text: str
    site: str | None = None
    standing: SiteStatus | None = None
    why: str = ""


StudyNote = (
    StudyBegan | RequestSent | ReplyReceived | RoundDone | RoundVoided | StudyStopped | FiguresOpened | Remark
)


class Heartbeat(_Note):
    """The coordinator runs, and nothing is new; only a watcher gets it."""

    kind: Literal["beat"] = "beat"


class WatchEnded(_Note):
    """The study is finished or stopped: the last note that a watcher gets."""

    kind: Literal["end"] = "end"
    standing: StudyStatus
    why: str


WatchedNote = StudyNote | Heartbeat | WatchEnded

N = TypeVar("N")

_WATCHED: TypeAdapter[WatchedNote] = TypeAdapter(Annotated[WatchedNote, Field(discriminator="kind")])
_STORED: TypeAdapter[StudyNote] = TypeAdapter(Annotated[StudyNote, Field(discriminator="kind")])


def read_note(fields: dict[str, Any]) -> StudyNote:
    """Read a note of the journal.

    Raises:
        FederationError: its kind is unknown, or it is damaged.
    """
    return _read(_STORED, fields)


def read_watched_note(fields: dict[str, Any]) -> WatchedNote:
    """Read a note of the stream that ``consilium study watch`` follows.

    Raises:
        FederationError: its kind is unknown, or it is damaged.
    """
    return _read(_WATCHED, fields)


def _read(kinds: TypeAdapter[N], fields: dict[str, Any]) -> N:
    try:
        return kinds.validate_python(fields)
    except ValidationError:
        raise FederationError(
            "a note of the study is damaged, or of another version of Consilium; restart the coordinator with this one"
        ) from None
