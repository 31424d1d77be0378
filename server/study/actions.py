"""What the study's machine wants done: its whole vocabulary towards disk and network."""

from dataclasses import dataclass

from privacy.protocol.headers import Committed
from privacy.protocol.messages import Request
from server.study.events import Event


@dataclass(frozen=True)
class Record:
    """Write this event to the journal; durable before the next action."""

    event: Event


@dataclass(frozen=True)
class Ask:
    """Send a request; ``aggregate`` names the committed round whose aggregate goes with it."""

    site: str
    request: Request
    aggregate: int | None = None


@dataclass(frozen=True)
class Restart:
    """Forget the running sum and begin one for this round, from the model after round ``base``."""

    round: int
    base: int


@dataclass(frozen=True)
class Commit:
    """Take the released masks (seeds in hexadecimal, by site) off the running sum and store the aggregate."""

    committed: Committed
    seeds: dict[str, str]


@dataclass(frozen=True)
class Note:
    """Tell whoever watches; about one site, or about the study."""

    text: str
    site: str | None = None


Action = Record | Ask | Restart | Commit | Note
