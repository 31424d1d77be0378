"""Add up a study's notes: the state of every site, and the seconds and bytes of every round."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Final, NamedTuple, assert_never

from privacy.study.tasks.figures import FigureFacts
from server.study.notes import (
    FiguresOpened,
    Heartbeat,
    Remark,
    ReplyReceived,
    RequestSent,
    RoundDone,
    RoundVoided,
    StudyBegan,
    StudyStopped,
    WatchedNote,
    WatchEnded,
)
from server.study.sites import SiteStatus

WITHOUT_PRIVACY: Final = "WITHOUT PRIVACY: the model may reveal its patients"
NOT_SEALED: Final = "NOT SEALED: the coordinator can read every site's update"
_LAST: Final = 5
"""The seconds of a further round are estimated as the median of this many last rounds."""


@dataclass
class SiteTally:
    """One site, as the coordinator sees it; it sends ``bytes_up`` and receives ``bytes_down``."""

    phase: str = "-"
    round: int = 0
    epsilon: float | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    since: float | None = None
    """When the question that it has not answered yet was asked."""
    standing: SiteStatus = SiteStatus.EXPECTED
    """The site's status in the newest note on it; ``why`` is the reason."""
    why: str = ""


@dataclass
class RoundTally:
    """One round: times on the notes' clock in seconds, bytes summed over all sites."""

    asked: float
    sealed: float = 0.0
    committed: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    sites: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Seconds from the first question to the stored aggregate."""
        return self.committed - self.asked

    @property
    def working(self) -> float:
        """Seconds until the last site has sealed: downloads, the sites' work, uploads."""
        return self.sealed - self.asked

    @property
    def releasing(self) -> float:
        """Seconds of the second exchange and of taking the masks off."""
        return self.committed - self.sealed


class Moved(NamedTuple):
    """Average bytes and seconds of some rounds."""

    bytes_up: int
    """What one site sends in one round."""
    bytes_down: int
    """What one site receives in one round."""
    seconds: float
    """Of one round."""


def average_rounds(rounds: Sequence[RoundTally]) -> Moved | None:
    """Average committed ``rounds``; None if no round is given."""
    exchanges = sum(len(each.sites) for each in rounds)
    if not exchanges:
        return None
    up, down = (sum(getattr(each, way) for each in rounds) for way in ("bytes_up", "bytes_down"))
    return Moved(round(up / exchanges), round(down / exchanges), fmean(each.seconds for each in rounds))


@dataclass
class Tally:
    """The sum of a study's notes."""

    sites: dict[str, SiteTally] = field(default_factory=dict)
    rounds: dict[int, RoundTally] = field(default_factory=dict)
    void: list[int] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    """Warnings that every display of the study shows."""
    figures: tuple[FigureFacts, ...] = ()
    """What the study's figures are called, in their order."""
    exchanges: int = 0
    """Of the whole study, the closing evaluation included; 0 before it is known."""
    now: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds of the exchanges to come, by the median of the last ones; None before the first."""
        timed = [each.seconds for _, each in sorted(self.rounds.items()) if each.committed]
        if not timed or not self.exchanges:
            return None
        done = max([*self.void, *(number for number, each in self.rounds.items() if each.committed)])
        return max(0, self.exchanges - done) * median(timed[-_LAST:])

    def add_note(self, note: WatchedNote) -> None:
        """Add one note."""
        self.now = note.time
        match note:
            case StudyBegan():
                bare, plain = not note.private, not note.sealed
                self.warnings = (WITHOUT_PRIVACY,) * bare + (NOT_SEALED,) * plain
                self.exchanges, self.figures = note.exchanges, note.figures
            case RequestSent():
                self._add_request(note)
            case ReplyReceived():
                self._add_reply(note)
            case RoundDone():
                tally = self.rounds[note.round]
                tally.committed, tally.sites = self.now, note.sites
            case RoundVoided():
                self.void.append(note.round)
            case Remark():
                self._add_remark(note)
            case StudyStopped() | FiguresOpened() | Heartbeat() | WatchEnded():
                pass  # these move the clock only
            case _:
                assert_never(note)

    def _add_request(self, note: RequestSent) -> None:
        site = self.sites.setdefault(note.site, SiteTally())
        site.phase, site.since = _PHASES[note.what], self.now
        site.bytes_down += note.bytes
        if note.round is not None:
            site.round = note.round
            self.rounds.setdefault(note.round, RoundTally(self.now)).bytes_down += note.bytes

    def _add_reply(self, note: ReplyReceived) -> None:
        site = self.sites.setdefault(note.site, SiteTally())
        site.phase, site.since = note.what, None
        site.bytes_up += note.bytes
        if note.epsilon is not None:
            site.epsilon = note.epsilon
        if note.round is not None:
            tally = self.rounds.setdefault(note.round, RoundTally(self.now))
            tally.bytes_up += note.bytes
            if note.what == "sealed":
                tally.sealed = self.now

    def _add_remark(self, note: Remark) -> None:
        if note.site is not None and note.standing is not None:
            site = self.sites.setdefault(note.site, SiteTally())
            site.standing, site.why = note.standing, note.why


_PHASES = {
    "join": "joining",
    "wrap": "wrapping keys",
    "train": "training",
    "release": "releasing",
    "open": "catching up",
    "close": "closing",
    "give-up": "giving up",
}
