"""The closed list of what crosses a site's border.

A message is an :class:`Envelope`: a canonical JSON body, its sender's signature, and blobs (sealed updates,
aggregates) whose lengths and digests stand in the body. ``docs/wire.md`` gives the bytes.

Rules:

* A request is numbered, and numbers rise; a reply names the digest of the request it answers.
* What a reply may contain is what its class below says, nothing else: no loss, no realised lot, no count of
  clipped values, no time that depends on records. Every figure in clear is a function of public quantities.
* Verification raises; a message that does not verify has no effect.
* Every list and text has a limit, so that the largest message a study of the most sites can need fits
  ``MAX_BODY_BYTES``: what one site may send is never too much to be sent on
  (``tests/privacy/protocol/test_message_sizes.py``).
"""

from typing import ClassVar, Literal

from pydantic import Field

from privacy import labels
from privacy.document import Document
from privacy.fields import Count, Digest, StudyId
from privacy.ledger.signed_head import Countersigned, LedgerHead
from privacy.protocol.headers import Committed, Evaluated, Header
from privacy.protocol.key_messages import KeyParcel, Offer, Wrap, Wrappings
from privacy.refusal_codes import RefusalCode
from privacy.sentence import Sentence
from privacy.signed import Signed, Statement
from privacy.study import MAX_SITES, Name
from privacy.study.launch import SignedLaunch


class HeldModel(Statement):
    """Run by a site at the end: the model it holds. Sites compare these before any of them releases it."""

    label: ClassVar[str] = labels.HELD_MODEL

    study: StudyId
    launch: Digest
    site: Name
    epoch: Count
    """The key epoch whose key the digest is made with."""
    base: Count
    model: Digest
    """Keyed digest of the model and of what it is chosen by: equal at all sites, a guess for nobody else."""


class Join(Document):
    """Asked of every invited site: admit the study, offer a session key for this epoch."""

    kind: Literal["join"] = "join"
    launch: SignedLaunch
    epoch: Count
    witnessed: Countersigned | None = None
    """As in :class:`Train`, so that a site whose ledger is older hears of it before it takes part; None at first."""


class Train(Document):
    """Asked of each site of the cohort: open the last aggregate, train, seal."""

    kind: Literal["train"] = "train"
    round: Count
    attempt: Count
    epoch: Count
    base: Count
    """The last committed round: what the model must have reached."""
    cohort: tuple[Name, ...] = Field(max_length=MAX_SITES)
    reference: Count
    """The patient count that weighs 1, the same in every round of the study."""
    room: Count = 0
    """How many patients the round's sum has room for, the same in every attempt; a site seals for no larger cohort."""
    keys: KeyParcel | None = None
    """None once the site has sealed in this epoch."""
    committed: Committed | None = None
    witnessed: Countersigned | None = None
    """The newest head of this site's ledger that the coordinator has seen, countersigned; a site trains on no other."""


class Release(Document):
    """Asked of each site of the cohort once everybody has sealed: compare, then release the own mask's seed."""

    kind: Literal["release"] = "release"
    round: Count
    attempt: Count
    headers: dict[Name, Signed[Header]] = Field(max_length=MAX_SITES)


class Open(Document):
    """Asked of a site that missed a round: open and apply this aggregate. At the end: say what model you hold."""

    kind: Literal["open"] = "open"
    keys: KeyParcel | None = None
    committed: Committed
    sign_held: Count | None = None
    """The key epoch under which to sign the model that is held; None while rounds follow."""


class Close(Document):
    """Asked of every site at the end: compare the others' models with your own, write it, close the study's account."""

    kind: Literal["close"] = "close"
    base: Count
    held: dict[Name, Signed[HeldModel]] = Field(default_factory=dict, max_length=MAX_SITES)


class GiveUp(Document):
    """Asked of every site of a study that will not go on: close its account, release nothing."""

    kind: Literal["give-up"] = "give-up"
    launch: Digest


class Joined(Document):
    """The study is admitted; the offer stands for the epoch asked."""

    kind: Literal["joined"] = "joined"
    offer: Signed[Offer]
    ledger: Signed[LedgerHead]


class Sealed(Document):
    """A sealed update: the blob, the header that binds it, and where the site's ledger stands."""

    kind: Literal["sealed"] = "sealed"
    header: Signed[Header]
    ledger: Signed[LedgerHead]
    evaluated: Evaluated | None
    """What the header's digest is of: said to the coordinator once, not sent on with the header."""


class Released(Document):
    """The seed of this site's own mask, for one attempt of the round, ever."""

    kind: Literal["released"] = "released"
    round: Count
    attempt: Count
    seed: Digest


class Opened(Document):
    """The aggregate is applied."""

    kind: Literal["opened"] = "opened"
    base: Count
    evaluated: Evaluated | None
    held: Signed[HeldModel] | None = None
    """Where it was asked for."""


class Closed(Document):
    """The study's account is closed at this site and its model written."""

    kind: Literal["closed"] = "closed"
    base: Count
    evaluated: Evaluated | None
    ledger: Signed[LedgerHead]
    epsilon_spent: float | None


class GivenUp(Document):
    """The study's account is closed at this site; what it had not used is left again, and no model is released."""

    kind: Literal["given-up"] = "given-up"
    ledger: Signed[LedgerHead]


class Problem(Document):
    """Why a request had no effect: a code for the coordinator's rules, a sentence for its operator."""

    kind: Literal["problem"] = "problem"
    code: RefusalCode
    sentence: Sentence
    base: Count | None = None


Request = Join | Wrap | Train | Release | Open | Close | GiveUp
Reply = Joined | Wrappings | Sealed | Released | Opened | Closed | GivenUp | Problem
