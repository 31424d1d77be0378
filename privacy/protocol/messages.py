"""The closed list of messages between a site and the coordinator.

A message is the content of an envelope (``privacy/protocol/envelope.py``). ``docs/wire.md`` gives the bytes.

Rules:

* A reply contains what its class below says, and nothing else: no loss, no realised lot, no count of clipped
  values, no time that depends on records. Every figure that is not encrypted is a function of public quantities.
* Every list and text has a limit, so that the largest message of a study with the most sites fits
  ``MAX_BODY_BYTES``. What one site may send can therefore always be relayed
  (``tests/privacy/protocol/test_message_sizes.py``).
"""

from typing import ClassVar, Literal

from pydantic import Field

from privacy import labels
from privacy.document import Document
from privacy.fields import Contact, Count, Digest, StudyId
from privacy.ledger.signed_head import Countersigned, LedgerHead
from privacy.program import Program
from privacy.protocol.headers import Committed, Evaluated, Header
from privacy.protocol.key_messages import KeyOffer, KeyParcel, Wrap, Wrappings
from privacy.refusal_codes import RefusalCode
from privacy.sentence import Sentence
from privacy.signed import Signed, Statement
from privacy.study import MAX_SITES, Name
from privacy.study.launch import SignedLaunch


class HeldModel(Statement):
    """The model that a site holds at the end. Signed by the site; sites compare these before any releases it."""

    label: ClassVar[str] = labels.HELD_MODEL

    study: StudyId
    launch: Digest
    site: Name
    epoch: Count
    """The key epoch whose key the digest is made with."""
    base: Count
    model: Digest
    """Keyed digest of the model and of what it is chosen by: equal at all sites; others cannot test it."""


class Join(Document):
    """Request to every invited site: admit the study, offer a session key for this epoch."""

    kind: Literal["join"] = "join"
    launch: SignedLaunch
    epoch: Count
    witnessed: Countersigned | None = None
    """As in :class:`Train`, so that a site with an older ledger learns it before it takes part; None at first."""


class Train(Document):
    """Request to each site of the cohort: open the last aggregate, train, seal."""

    kind: Literal["train"] = "train"
    round: Count
    attempt: Count
    epoch: Count
    base: Count
    """The last committed round, which the model must include."""
    cohort: tuple[Name, ...] = Field(max_length=MAX_SITES)
    reference: Count
    """The patient count whose weight is 1, the same in every round of the study."""
    room: Count = 0
    """For how many patients the round's sum has room, in every attempt; a site seals for no larger cohort."""
    keys: KeyParcel | None = None
    """The keys of the epoch; None once the site has sealed in this epoch."""
    committed: Committed | None = None
    witnessed: Countersigned | None = None
    """The newest head of this site's ledger that the coordinator has seen, countersigned.

    A site trains only if this head is in its ledger.
    """


class Release(Document):
    """Request to each site of the cohort, once all have sealed: compare headers, then release the mask seed."""

    kind: Literal["release"] = "release"
    round: Count
    attempt: Count
    headers: dict[Name, Signed[Header]] = Field(max_length=MAX_SITES)


class Open(Document):
    """Request to a site that missed a round: open and apply this aggregate; at the end, sign the model held."""

    kind: Literal["open"] = "open"
    keys: KeyParcel | None = None
    committed: Committed
    sign_held: Count | None = None
    """The key epoch for the digest of the model that the site signs; None while rounds follow."""


class Close(Document):
    """Request to every site at the end: compare the models held, write its own, close the study's account."""

    kind: Literal["close"] = "close"
    base: Count
    held: dict[Name, Signed[HeldModel]] = Field(default_factory=dict, max_length=MAX_SITES)


class GiveUp(Document):
    """Request to every site of a study that will not continue: close its account, release nothing."""

    kind: Literal["give-up"] = "give-up"
    launch: Digest


class Joined(Document):
    """Reply to :class:`Join`: the study is admitted; the offer is for the requested epoch."""

    kind: Literal["joined"] = "joined"
    offer: Signed[KeyOffer]
    ledger: Signed[LedgerHead]
    program: Program
    """The program that the site runs, as it says."""


class Waiting(Document):
    """Reply to :class:`Join`: the study is within this site's rules, and its people have not decided yet.

    Nothing is paid or set aside. The coordinator asks again later.
    """

    kind: Literal["waiting"] = "waiting"
    since: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    """When this site was first asked, UTC, by its clock."""
    contact: Contact
    """Whom to call, as this site's policy says; it may be empty."""
    sentence: Sentence


class Sealed(Document):
    """Reply to :class:`Train`: the sealed update is the blob; its header, and the head of the site's ledger."""

    kind: Literal["sealed"] = "sealed"
    header: Signed[Header]
    ledger: Signed[LedgerHead]
    evaluated: Evaluated | None
    """The totals whose digest is in the header: sent to the coordinator once, and not relayed with the header."""


class Released(Document):
    """Reply to :class:`Release`: the seed of this site's own mask, for one attempt of a round only."""

    kind: Literal["released"] = "released"
    round: Count
    attempt: Count
    seed: Digest


class Opened(Document):
    """Reply to :class:`Open`: the aggregate is applied."""

    kind: Literal["opened"] = "opened"
    base: Count
    evaluated: Evaluated | None
    held: Signed[HeldModel] | None = None
    """The model that the site holds, if the request asked for it."""


class Closed(Document):
    """Reply to :class:`Close`: the study's account is closed at this site, and its model is written."""

    kind: Literal["closed"] = "closed"
    base: Count
    evaluated: Evaluated | None
    ledger: Signed[LedgerHead]
    epsilon_spent: float | None


class GivenUp(Document):
    """Reply to :class:`GiveUp`: the study's account is closed at this site, and no model is released.

    What the study had not used is free again.
    """

    kind: Literal["given-up"] = "given-up"
    ledger: Signed[LedgerHead]


class Problem(Document):
    """Reply to a request that had no effect: a code for the coordinator's rules, a sentence for its operator."""

    kind: Literal["problem"] = "problem"
    code: RefusalCode
    sentence: Sentence
    base: Count | None = None


Request = Join | Wrap | Train | Release | Open | Close | GiveUp
Reply = Joined | Waiting | Wrappings | Sealed | Released | Opened | Closed | GivenUp | Problem
