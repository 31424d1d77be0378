"""The events of a study that its journal keeps, and the history that follows from them.

Rules:

* after every restart the machine in ``server/study/machine.py`` is built again from the history;
* events are documents with a kind, which are only appended; an unknown kind is refused;
* an ``...Asked`` event is recorded before the request is sent: from then on a site may have seen it.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from privacy.canonical import from_canonical
from privacy.document import Document
from privacy.errors import FederationError, WireError
from privacy.program import Program
from privacy.protocol.headers import Committed, Evaluated
from privacy.protocol.key_messages import KeyParcel
from privacy.protocol.messages import Closed, HeldModel
from privacy.signed import Signed
from privacy.study import Name


class EpochAsked(Document):
    """A site may have seen the number of this key epoch."""

    kind: Literal["epoch-asked"] = "epoch-asked"
    epoch: int


class EpochKeyed(Document):
    """The members of the epoch have keys."""

    kind: Literal["epoch-keyed"] = "epoch-keyed"
    parcel: KeyParcel


class AttemptAsked(Document):
    """A site may have seen this attempt of this round, with this cohort."""

    kind: Literal["attempt-asked"] = "attempt-asked"
    round: int
    attempt: int
    epoch: int
    cohort: tuple[Name, ...]
    reference: int
    room: int = 0


class ReleaseAsked(Document):
    """A site may have released its mask for this attempt."""

    kind: Literal["release-asked"] = "release-asked"
    round: int
    attempt: int


class RoundCommitted(Document):
    """The round's aggregate is stored; ``committed`` has the headers of its updates."""

    kind: Literal["round-committed"] = "round-committed"
    committed: Committed


class TotalsOpened(Document):
    """All members, or all sites that sealed the next round, have opened the same totals."""

    kind: Literal["totals-opened"] = "totals-opened"
    evaluated: Evaluated


class WaitBegan(Document):
    """Too few sites are here for a round, or people at sites have not decided; the study waits for them."""

    kind: Literal["wait-began"] = "wait-began"
    why: str
    deciding: bool = False
    """Whether it waits for decisions."""


class SiteDeciding(Document):
    """The people of a site have not decided yet whether they admit the study."""

    kind: Literal["site-deciding"] = "site-deciding"
    site: Name
    since: str
    """When the site was first asked, UTC, as it says."""
    contact: str
    sentence: str


class SiteProgram(Document):
    """A site has joined with this program, as it says."""

    kind: Literal["site-program"] = "site-program"
    site: Name
    program: Program


class SiteDecided(Document):
    """The people of a site have decided, or it has found another reason to refuse."""

    kind: Literal["site-decided"] = "site-decided"
    site: Name


class RoundVoid(Document):
    """``sites`` have sealed and not released: the round counts, and the model does not change."""

    kind: Literal["round-void"] = "round-void"
    round: int
    sites: tuple[Name, ...]


class AggregatesRemoved(Document):
    """The aggregates of the rounds up to ``upto`` have no room any more: no site can open these rounds from now on."""

    kind: Literal["aggregates-removed"] = "aggregates-removed"
    upto: int


class SiteOut(Document):
    """The site takes no part until the operator re-admits it."""

    kind: Literal["site-out"] = "site-out"
    site: Name
    why: str


class SiteReadmitted(Document):
    """The operator has re-admitted the site."""

    kind: Literal["site-readmitted"] = "site-readmitted"
    site: Name


class SiteClosed(Document):
    """The site holds the final model and has closed the study's account."""

    kind: Literal["site-closed"] = "site-closed"
    site: Name
    closed: Closed


class ModelsHeld(Document):
    """The sites have signed which model they hold; a request to close shows these signatures."""

    kind: Literal["models-held"] = "models-held"
    held: dict[Name, Signed[HeldModel]]


class Stopped(Document):
    """The study is stopped until the operator resumes it."""

    kind: Literal["stopped"] = "stopped"
    why: str


class Resumed(Document):
    """The operator has resumed the study."""

    kind: Literal["resumed"] = "resumed"


class GaveUp(Document):
    """The operator has given the study up; every site is informed."""

    kind: Literal["gave-up"] = "gave-up"


class Finished(Document):
    """The study has ended; nothing is left to do."""

    kind: Literal["finished"] = "finished"


Event = (
    EpochAsked
    | EpochKeyed
    | AttemptAsked
    | ReleaseAsked
    | RoundCommitted
    | TotalsOpened
    | WaitBegan
    | SiteDeciding
    | SiteDecided
    | SiteProgram
    | RoundVoid
    | AggregatesRemoved
    | SiteOut
    | SiteReadmitted
    | SiteClosed
    | ModelsHeld
    | Stopped
    | Resumed
    | GaveUp
    | Finished
)

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def parse_event(data: bytes) -> Event:
    """Read an event that :meth:`privacy.document.Document.to_bytes` wrote.

    Raises:
        FederationError: its kind is unknown, or it is damaged.
    """
    try:
        return _EVENT.validate_python(from_canonical(data))
    except (ValidationError, WireError):
        raise FederationError("the study's journal holds an event that this version does not know") from None


class StudyStatus(StrEnum):
    """The status of a study. A waiting study is also open; a study that was given up is also finished."""

    OPEN = "open"
    WAITING = "waiting"
    STOPPED = "stopped"
    GIVEN_UP = "given up"
    FINISHED = "finished"


@dataclass
class History:
    """The state that follows from a journal's events."""

    epoch_asked: int = 0
    keys: KeyParcel | None = None
    attempt: AttemptAsked | None = None
    released: AttemptAsked | None = None
    """The last attempt for which a site may have released its mask."""
    committed: dict[int, RoundCommitted] = field(default_factory=dict)
    """The committed rounds by number, in rising order."""
    base: int = 0
    """The last committed round; 0 before the first."""
    next_round: int = 1
    """The round to begin or continue; void rounds count."""
    totals: dict[int, Evaluated] = field(default_factory=dict)
    """Totals that all of a cohort have opened alike, by the round whose aggregate brought them.

    Their digest is in the signed headers of the next round, or members opened them before that round.
    """
    void: set[int] = field(default_factory=set)
    voids_by: Counter[str] = field(default_factory=Counter)
    """How many rounds each site has made void since it was last admitted."""
    removed: int = 0
    """The last round whose aggregate is removed; 0 while all are there."""
    waiting: str | None = None
    """Why the study waits; None while it does not."""
    programs: dict[str, Program] = field(default_factory=dict)
    """The program of each site that has joined, as it says."""
    deciding: dict[str, SiteDeciding] = field(default_factory=dict)
    """The sites whose people have not decided yet."""
    out: dict[str, str] = field(default_factory=dict)
    closed: dict[str, Closed] = field(default_factory=dict)
    held: dict[str, Signed[HeldModel]] = field(default_factory=dict)
    """The model that each site has signed to hold at the end."""
    stopped: str | None = None
    given_up: bool = False
    finished: bool = False

    def apply(self, event: Event) -> None:
        """Apply one event."""
        match event:
            case EpochAsked():
                self.epoch_asked = event.epoch
            case EpochKeyed():
                self.keys, self.waiting = event.parcel, None
            case AttemptAsked():
                self.attempt = event
            case ReleaseAsked():
                self.released, self.waiting = self.attempt, None
            case WaitBegan():
                self.waiting = event.why
            case SiteDeciding():
                self.deciding[event.site] = event
            case SiteProgram():
                self.programs[event.site] = event.program
            case SiteDecided():
                self.deciding.pop(event.site, None)
            case RoundCommitted():
                self.base = event.committed.round
                self.committed[self.base] = event
                self.next_round = max(self.next_round, self.base + 1)
            case TotalsOpened():
                self.totals[event.evaluated.opened_in] = event.evaluated
            case RoundVoid():
                self.void.add(event.round)
                self.next_round = max(self.next_round, event.round + 1)
                self.voids_by.update(event.sites)
            case AggregatesRemoved():
                self.removed = event.upto
            case SiteOut():
                self.out[event.site] = event.why
                self.deciding.pop(event.site, None)
            case SiteReadmitted():
                self.out.pop(event.site, None)
                self.voids_by.pop(event.site, None)
            case SiteClosed():
                self.closed[event.site] = event.closed
            case ModelsHeld():
                self.held, self.waiting = event.held, None
            case Stopped():
                self.stopped, self.waiting = event.why, None
            case Resumed():
                self.stopped = None
            case GaveUp():
                self.given_up = True
                self.deciding.clear()
            case Finished():
                self.finished, self.waiting = True, None

    @property
    def release_asked(self) -> bool:
        """Whether a site may have released its mask for an attempt of the present round."""
        return self.released is not None and self.released.round == self.next_round

    @property
    def void_cohort(self) -> tuple[str, ...]:
        """The cohort of a void round after the last committed one, whose sum may have been opened; else empty."""
        released = self.released
        return released.cohort if released and self.base < released.round < self.next_round else ()

    @property
    def epoch(self) -> int:
        """The epoch whose members have keys; 0 before the first."""
        return 0 if self.keys is None else self.keys.grant.statement.epoch
