"""A study's notes, added up: where every site is, and what every round took and moved."""

from dataclasses import dataclass, field
from typing import Any, Final

WITHOUT_PRIVACY: Final = "WITHOUT PRIVACY: the model may reveal its patients"
NOT_SEALED: Final = "NOT SEALED: the coordinator can read every site's update"


@dataclass
class SiteTally:
    """One site, as the coordinator sees it. ``bytes_up`` and ``bytes_down`` are from the site's side."""

    phase: str = "-"
    round: int = 0
    epsilon: float | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    since: float | None = None
    """When the question was asked that it has not answered."""


@dataclass
class RoundTally:
    """One committed round: times in seconds, bytes over all sites."""

    asked: float
    sealed: float = 0.0
    committed: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    sites: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """From the first question to the stored aggregate."""
        return self.committed - self.asked

    @property
    def working(self) -> float:
        """Until the last site had sealed: downloads, the sites' work, uploads."""
        return self.sealed - self.asked

    @property
    def releasing(self) -> float:
        """The second exchange, and taking the masks off."""
        return self.committed - self.sealed


@dataclass
class Tally:
    """Everything that a study's notes say."""

    sites: dict[str, SiteTally] = field(default_factory=dict)
    rounds: dict[int, RoundTally] = field(default_factory=dict)
    void: list[int] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    """What is said wherever the study is shown."""
    now: float = 0.0

    def take(self, note: dict[str, Any]) -> None:
        """Add one note."""
        self.now = note.get("time", self.now)
        match note["kind"]:
            case "study":
                bare, plain = not note["private"], not note["sealed"]
                self.warnings = (WITHOUT_PRIVACY,) * bare + (NOT_SEALED,) * plain
            case "asked":
                self._asked(note)
            case "answered":
                self._answered(note)
            case "committed":
                tally = self.rounds[note["round"]]
                tally.committed, tally.sites = self.now, tuple(note["sites"])
            case "void":
                self.void.append(note["round"])

    def _asked(self, note: dict[str, Any]) -> None:
        site = self.sites.setdefault(note["site"], SiteTally())
        site.phase, site.since = _PHASES[note["what"]], self.now
        site.bytes_down += note["bytes"]
        if "round" in note:
            site.round = note["round"]
            self.rounds.setdefault(note["round"], RoundTally(self.now)).bytes_down += note["bytes"]

    def _answered(self, note: dict[str, Any]) -> None:
        site = self.sites.setdefault(note["site"], SiteTally())
        site.phase, site.since = note["what"], None
        site.bytes_up += note["bytes"]
        site.epsilon = note.get("epsilon", site.epsilon)
        if "round" in note:
            tally = self.rounds.setdefault(note["round"], RoundTally(self.now))
            tally.bytes_up += note["bytes"]
            if note["what"] == "sealed":
                tally.sealed = self.now


_PHASES = {
    "join": "joining",
    "wrap": "wrapping keys",
    "train": "training",
    "release": "releasing",
    "open": "catching up",
    "close": "closing",
}
