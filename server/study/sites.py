"""The coordinator's view of each site of a study: its status, and the question that it was asked."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

from privacy.protocol.key_messages import KeyOffer, Wrap
from privacy.protocol.messages import Close, HeldModel, Release, Request
from privacy.signed import Signed
from server.study.actions import Ask


class SiteStatus(StrEnum):
    """The status of one site in a study."""

    EXPECTED = "expected"
    MEMBER = "member"
    ABSENT = "absent"
    REFUSED = "refused"
    DECIDING = "deciding"
    """Its people have not decided yet whether they admit the study."""
    OUT = "out"
    CLOSED = "closed"


SHUT = (SiteStatus.REFUSED, SiteStatus.OUT, SiteStatus.CLOSED)


@dataclass
class PendingRequest:
    """A request without an answer yet."""

    ask: Ask
    sent: float
    times: int = 1
    returned: bool = False
    """Whether the last message is known to have had no effect: the site was offline, or could not act on it."""
    offline_since: float | None = None

    @property
    def backoff(self) -> int:
        """Back-off factor before asking again: no answer usually means that the site still works on it."""
        # These need no training: no answer means that the message or its reply was lost.
        at_once = isinstance(self.ask.request, Release | Wrap | Close)
        return 1 if self.returned or at_once else 2 ** min(self.times + 1, 6)


@dataclass
class SiteView:
    """The coordinator's knowledge of one site."""

    name: str
    standing: SiteStatus = SiteStatus.EXPECTED
    base: int = 0
    offer: Signed[KeyOffer] | None = None
    """The key offer for the newest epoch that was asked for."""
    has_keys: bool = False
    held: Signed[HeldModel] | None = None
    """The model that it has signed to hold at the end, in the present key epoch."""
    patients: int = 0
    failures: int = 0
    """Training failures since the last sealed update."""
    failures_as_lead: int = 0
    setbacks: int = 0
    """How often it could not write since it last sealed: no failure, but it is asked ever less often."""
    why: str = ""
    lost_at: float = -inf
    deciding_since: float = 0.0
    """When it first said that its people decide, and when it is asked again; seconds on the caller's clock."""
    ask_at: float = 0.0
    question: PendingRequest | None = None

    def is_asked(self, kind: type[Request]) -> bool:
        """Return whether a question of this kind waits for an answer."""
        return self.question is not None and isinstance(self.question.ask.request, kind)
