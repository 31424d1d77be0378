"""The actions of the study's state machine: all that it can ask of disk and network."""

from dataclasses import dataclass

from privacy.protocol.headers import Committed
from privacy.protocol.messages import Request
from server.study.events import Event


@dataclass(frozen=True)
class Record:
    """Write this event to the journal; it is durable before the next action."""

    event: Event


@dataclass(frozen=True)
class Ask:
    """Send a request; ``aggregate`` is the committed round whose aggregate is sent with it."""

    site: str
    request: Request
    aggregate: int | None = None


@dataclass(frozen=True)
class Restart:
    """Discard the running sum and begin one for this round, from the model after round ``base``."""

    round: int
    base: int


@dataclass(frozen=True)
class Commit:
    """Subtract the released masks (seeds in hexadecimal, by site) from the running sum and store the aggregate."""

    committed: Committed
    seeds: dict[str, str]


@dataclass(frozen=True)
class Note:
    """Write a note for people who watch the study, about one site or about the study."""

    text: str
    site: str | None = None


Action = Record | Ask | Restart | Commit | Note
