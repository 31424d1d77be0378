"""How a study stands with each of its sites."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

from privacy.protocol.key_messages import Offer, Wrap
from privacy.protocol.messages import Close, HeldModel, Release, Request
from privacy.signed import Signed
from server.study.actions import Ask


class SiteStatus(StrEnum):
    """How the study stands with one site."""

    EXPECTED = "expected"
    MEMBER = "member"
    ABSENT = "absent"
    REFUSED = "refused"
    OUT = "out"
    CLOSED = "closed"


SHUT = (SiteStatus.REFUSED, SiteStatus.OUT, SiteStatus.CLOSED)


@dataclass
class PendingRequest:
    """A request in flight."""

    ask: Ask
    sent: float
    times: int = 1
    returned: bool = False
    """Whether what was sent last is known to have had no effect: its receiver was offline, or could not act on it."""
    offline_since: float | None = None

    @property
    def backoff(self) -> int:
        """How much longer than usual to wait before asking again: silence is work, where there is work to do."""
        at_once = isinstance(self.ask.request, Release | Wrap | Close)
        return 1 if self.returned or at_once else 2 ** min(self.times + 1, 6)


@dataclass
class SiteView:
    """What the coordinator knows of one site."""

    name: str
    standing: SiteStatus = SiteStatus.EXPECTED
    base: int = 0
    offer: Signed[Offer] | None = None
    """For the newest epoch asked."""
    has_keys: bool = False
    held: Signed[HeldModel] | None = None
    """Which model it has signed to hold at the end, in the present key epoch."""
    patients: int = 0
    failures: int = 0
    """Training failures since the last sealed update."""
    failures_as_lead: int = 0
    setbacks: int = 0
    """How often it could not write since it last sealed: no failure, but it is looked for ever less often."""
    why: str = ""
    lost_at: float = -inf
    question: PendingRequest | None = None

    def is_asked(self, kind: type[Request]) -> bool:
        """Whether a question of this kind is in flight."""
        return self.question is not None and isinstance(self.question.ask.request, kind)
