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

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from privacy.canonical import digest, from_canonical, sha256
from privacy.document import Document, parse
from privacy.errors import WireError
from privacy.keys import SECRET_BYTES, PublicKey, SigningKey
from privacy.ledger.signed_head import BookHead, Countersigned
from privacy.secure_aggregation.schemes.bfv_parameters import KEY_BYTES
from privacy.sentence import Sentence
from privacy.signed import Signed, Statement
from privacy.study import MAX_SITES, Name
from privacy.study.launch import KeyText, SignedLaunch

MAX_BODY_BYTES: Final = 4 << 20
_LABEL: Final = b"consilium message v1\0"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
StudyId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}-[0-9a-f]{8}$")]
Count = Annotated[int, Field(ge=0, le=1 << 40)]


def _base64_length(size: int) -> int:
    return 4 * -(-size // 3)


MAX_EARLIER: Final = 32
"""Earlier epochs whose keys go with a new one; who lacks more gets the rest in a later epoch."""
MAX_HELD: Final = 256
"""Epochs that a site says it holds: the newest."""
MAX_HEAD_BYTES: Final = 1 << 19
"""A signed head of a site's ledger, which the coordinator sends back to it."""
_WRAPPING_BYTES: Final = 28
_KEYRING_BYTES: Final = 32 + (1 + MAX_EARLIER) * (_base64_length(KEY_BYTES) + 32)
WrappedKey = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_=-]+$", max_length=_base64_length(SECRET_BYTES + _WRAPPING_BYTES))
]
WrappedKeyring = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_=-]+$", max_length=_base64_length(_KEYRING_BYTES + _WRAPPING_BYTES))
]
Total = Annotated[int, Field(ge=-(1 << 40), le=1 << 40)]


class Head(Document):
    """The last entry of a site's ledger: how many there are, and the hash of the last."""

    number: Count
    hash: Digest


class Offer(Statement):
    """Run by a site: my session key for this key epoch, and what I hold."""

    label: ClassVar[str] = "consilium key offer v1"

    study: StudyId
    launch: Digest
    site: Name
    epoch: Count
    session_key: KeyText
    base: Count
    """The last round that this site has opened and applied."""
    holds: tuple[Count, ...] = Field(max_length=MAX_HELD)
    """The newest key epochs whose study keys this site still has in memory."""
    patients: Count
    """Public patient count of the study's population here."""


class Grant(Statement):
    """Run by the lead site: the study's keys, wrapped for each pinned peer; the coordinator opens none."""

    label: ClassVar[str] = "consilium key grant v1"

    study: StudyId
    launch: Digest
    lead: Name
    epoch: Count
    offers: Digest
    """Over every offer of the epoch: a site checks that its own is among them."""
    commitment: Digest
    """To the epoch's study key: two sites that were given different keys notice."""
    wrapped: dict[Name, WrappedKey] = Field(max_length=MAX_SITES)
    """For each peer, the key of the keyring."""
    keyring: WrappedKeyring
    """The epoch's study key, and earlier ones that a member lacks, encrypted once for all."""


class Evaluated(Document):
    """Totals over the cohort's test patients, as opened: class x score bin."""

    round: Count
    """The round whose model was scored."""
    opened_in: Count
    """The round whose aggregate brought the totals."""
    counts: tuple[Total, ...] = Field(max_length=20_000)


class View(Document):
    """What every site of a cohort must hold in common for its masks to cancel: compared before any release."""

    study: StudyId
    launch: Digest
    epoch: Count
    round: Count
    attempt: Count
    cohort: Digest
    base: Count
    """The last committed round: what the model has reached."""
    model: Digest
    """Keyed digest of the model trained from: equal at all sites, a guess for nobody else."""
    key: Digest
    """The commitment to the study key in use."""
    layout: Digest
    """Of quantiser and packing."""
    reference: Count
    """The patient count that weighs 1."""
    room: Count = 0
    """With noise that sites add over patients: how many patients the range of the round's sum holds. Otherwise 0."""
    patients: Digest
    """Of the cohort's public patient counts, as offered in the key epoch: whoever signs two counts is noticed."""


class Header(Statement):
    """Run by a site: what it has sealed, from which view of the study. Sites compare them before releasing."""

    label: ClassVar[str] = "consilium header v1"

    site: Name
    view: View
    patients: Count
    """Public patient count: this site's weight where sites count by patients."""
    blob: Digest
    own_mask: Digest
    """Commitment to the seed of its own mask: a wrong seed is this site's, and named."""
    ledger: Head
    epsilon_spent: float | None
    """This study's price so far at this site, a function of public quantities; nothing without privacy."""
    totals: Digest | None
    """Of the :class:`Evaluated` that the last opened aggregate brought, if it brought any."""


class Committed(Document):
    """A finished round: its aggregate is the message's blob, its headers say what it was made of."""

    round: Count
    attempt: Count
    epoch: Count
    cohort: tuple[Name, ...] = Field(max_length=MAX_SITES)
    headers: dict[Name, Signed[Header]] = Field(max_length=MAX_SITES)


class HeldModel(Statement):
    """Run by a site at the end: the model it holds. Sites compare these before any of them releases it."""

    label: ClassVar[str] = "consilium held model v1"

    study: StudyId
    launch: Digest
    site: Name
    epoch: Count
    """The key epoch whose key the digest is made with."""
    base: Count
    model: Digest
    """Keyed digest of the model and of what it is chosen by: equal at all sites, a guess for nobody else."""


class KeyParcel(Document):
    """What a member needs to take part in a key epoch."""

    offers: dict[Name, Signed[Offer]] = Field(max_length=MAX_SITES)
    grant: Signed[Grant]


class Join(Document):
    """Asked of every invited site: admit the study, offer a session key for this epoch."""

    kind: Literal["join"] = "join"
    launch: SignedLaunch
    epoch: Count
    witnessed: Countersigned | None = None
    """As in :class:`Train`, so that a site whose ledger is older hears of it before it takes part; None at first."""


class Wrap(Document):
    """Asked of the lead site: draw the epoch's study key and wrap it, with the older keys that members lack."""

    kind: Literal["wrap"] = "wrap"
    epoch: Count
    offers: dict[Name, Signed[Offer]] = Field(max_length=MAX_SITES)
    earlier: tuple[Count, ...] = Field(default=(), max_length=MAX_EARLIER)


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
    book: Signed[BookHead]


class Wrappings(Document):
    """The lead's answer."""

    kind: Literal["wrapped"] = "wrapped"
    grant: Signed[Grant]


class Sealed(Document):
    """A sealed update: the blob, the header that binds it, and where the site's book stands."""

    kind: Literal["sealed"] = "sealed"
    header: Signed[Header]
    book: Signed[BookHead]
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
    book: Signed[BookHead]
    epsilon_spent: float | None


class GivenUp(Document):
    """The study's account is closed at this site; what it had not used is left again, and no model is released."""

    kind: Literal["given-up"] = "given-up"
    book: Signed[BookHead]


class Problem(Document):
    """Why a request had no effect: a code for the coordinator's rules, a sentence for its operator."""

    kind: Literal["problem"] = "problem"
    code: Annotated[str, Field(pattern=r"^[a-z][a-z-]{0,39}$")]
    sentence: Sentence
    base: Count | None = None


Request = Join | Wrap | Train | Release | Open | Close | GiveUp
Reply = Joined | Wrappings | Sealed | Released | Opened | Closed | GivenUp | Problem


class BlobNote(Document):
    """What the body says of a blob."""

    length: Count
    sha256: Digest


class Body(Document):
    """The signed part of a message."""

    consilium: Literal[1] = 1
    study: StudyId
    sender: Name
    receiver: Name
    number: Count
    answers: Digest | None
    """Digest of the body of the request that this reply answers; none in a request."""
    blobs: tuple[BlobNote, ...] = Field(max_length=4)
    content: Annotated[Request | Reply, Field(discriminator="kind")]


@dataclass(frozen=True)
class Envelope:
    """A message as it travels. Unverified until :func:`open_envelope` has returned its body."""

    body: bytes
    signature: bytes
    blobs: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        """Bytes on the wire, without Flower's framing."""
        return len(self.body) + len(self.signature) + sum(map(len, self.blobs))


def make_envelope(
    key: SigningKey,
    content: Request | Reply,
    *,
    study: str,
    sender: str,
    receiver: str,
    number: int,
    answers: bytes | None = None,
    blobs: tuple[bytes, ...] = (),
) -> Envelope:
    """Write and sign a message; ``answers`` is the body of the request that a reply answers.

    Raises:
        WireError: its body would be larger than a receiver takes.
    """
    body = Body(
        study=study,
        sender=sender,
        receiver=receiver,
        number=number,
        answers=None if answers is None else sha256(answers),
        blobs=tuple(BlobNote(length=len(blob), sha256=sha256(blob)) for blob in blobs),
        content=content,
    ).to_bytes()
    if len(body) > MAX_BODY_BYTES:
        raise WireError(
            f"a '{content.kind}' message would have {len(body)} bytes, at most {MAX_BODY_BYTES} are taken"
        )
    return Envelope(body, key.sign(_LABEL + body), blobs)


def read_body(envelope: Envelope) -> Body:
    """Parse a body whose signature is still to be checked: enough to know whose key to check it with.

    Raises:
        WireError: too large, not canonical, or not a message of this version.
    """
    if len(envelope.body) > MAX_BODY_BYTES:
        raise WireError(f"a message body has {len(envelope.body)} bytes, expected at most {MAX_BODY_BYTES}")
    return parse(from_canonical(envelope.body), Body, WireError, "message")


def open_envelope(envelope: Envelope, key: PublicKey) -> Body:
    """The verified body of ``envelope``.

    Raises:
        WireError: malformed, not signed by ``key``, or a blob is not the one the body names.
    """
    key.verify(envelope.signature, _LABEL + envelope.body)
    body = read_body(envelope)
    if [(note.length, note.sha256) for note in body.blobs] != [(len(b), sha256(b)) for b in envelope.blobs]:
        raise WireError("a message's blobs are not those that its body names: lengths or digests differ")
    return body


def counts_digest(patients: Mapping[str, int]) -> str:
    """Digest a cohort's public patient counts."""
    return digest(dict(patients))


def offers_digest(offers: Mapping[str, Signed[Offer]]) -> str:
    """One digest over every offer of a key epoch."""
    return digest({name: offer.digest for name, offer in offers.items()})


def wrapped_text(data: bytes) -> str:
    """Wrapped key bytes as text."""
    return base64.urlsafe_b64encode(data).decode("ascii")


def wrapped_bytes(text: str) -> bytes:
    """Undo :func:`wrapped_text`.

    Raises:
        WireError: not base64url.
    """
    try:
        return base64.urlsafe_b64decode(text)
    except ValueError:
        raise WireError("a wrapped key is not written in base64url") from None
