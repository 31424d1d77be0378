"""The envelope of every message: a canonical JSON body, the sender's signature, and blobs.

Rules:

* The body holds the length and the digest of every blob (sealed updates, aggregates), so one signature covers all.
  Blobs travel beside the message (``client/connection/transfers.py``), and may be files that are mapped.
* Requests are numbered, and numbers rise. A reply names the digest of the request that it answers.
* Verification raises. A message that does not verify has no effect.

``docs/wire.md`` gives the bytes.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from privacy import labels
from privacy.canonical import compute_sha256, from_canonical
from privacy.document import Document, parse
from privacy.errors import WireError
from privacy.fields import Count, Digest, StudyId
from privacy.keys import PublicKey, SigningKey
from privacy.protocol.messages import Reply, Request
from privacy.study import Name

MAX_BODY_BYTES: Final = 4 << 20
Blob = bytes | memoryview
_LABEL: Final = labels.make_prefix(labels.MESSAGE)


class BlobNote(Document):
    """The length and the digest of a blob, in the body."""

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
    """Digest of the body of the request that this reply answers; None in a request."""
    blobs: tuple[BlobNote, ...] = Field(max_length=4)
    content: Annotated[Request | Reply, Field(discriminator="kind")]


@dataclass(frozen=True)
class Envelope:
    """A message as it is sent. It is unverified until :func:`open_envelope` has returned its body."""

    body: bytes
    signature: bytes
    blobs: tuple[Blob, ...] = ()

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
    blobs: tuple[Blob, ...] = (),
    notes: tuple[BlobNote, ...] | None = None,
) -> Envelope:
    """Write and sign a message.

    Args:
        key: the sender's.
        content: what it says.
        study: what it is about.
        sender: from whom it is.
        receiver: for whom it is.
        number: of the request.
        answers: the body of the request that a reply answers.
        blobs: what it names.
        notes: of the blobs, where they are known; else the blobs are read.

    Raises:
        WireError: its body would be larger than a receiver accepts.
    """
    body = Body(
        study=study,
        sender=sender,
        receiver=receiver,
        number=number,
        answers=None if answers is None else compute_sha256(answers),
        blobs=tuple(map(note_blob, blobs)) if notes is None else notes,
        content=content,
    ).to_bytes()
    if len(body) > MAX_BODY_BYTES:
        raise WireError(
            f"a '{content.kind}' message would have {len(body)} bytes, at most {MAX_BODY_BYTES} are taken"
        )
    return Envelope(body, key.sign(_LABEL + body), blobs)


def note_blob(blob: Blob) -> BlobNote:
    """Read a blob, and return its length and digest."""
    return BlobNote(length=len(blob), sha256=compute_sha256(blob))


def read_body(envelope: Envelope) -> Body:
    """Parse a body before its signature is checked, to learn with which key to check it.

    Raises:
        WireError: too large, not canonical, or not a message of this version.
    """
    if len(envelope.body) > MAX_BODY_BYTES:
        raise WireError(f"a message body has {len(envelope.body)} bytes, expected at most {MAX_BODY_BYTES}")
    return parse(from_canonical(envelope.body), Body, WireError, "message")


def verify_body(envelope: Envelope, key: PublicKey) -> Body:
    """Verify the signature of ``envelope`` and return its body, whose blobs may still be to come.

    Raises:
        WireError: malformed, or not signed by ``key``.
    """
    key.verify(envelope.signature, _LABEL + envelope.body)
    return read_body(envelope)


def require_route(body: Body, sender: str, receiver: str) -> None:
    """Check from whom and for whom a message is.

    Raises:
        WireError: it is another party's, or another's to read.
    """
    if (body.sender, body.receiver) != (sender, receiver):
        raise WireError(f"a message from '{body.sender}' to '{body.receiver}' reached '{receiver}'")


def open_envelope(envelope: Envelope, key: PublicKey) -> Body:
    """Verify ``envelope`` with its blobs, and return its body.

    Raises:
        WireError: malformed, not signed by ``key``, or a blob is not the one the body names.
    """
    body = verify_body(envelope, key)
    if body.blobs != tuple(map(note_blob, envelope.blobs)):
        raise WireError("a message's blobs are not those that its body names: lengths or digests differ")
    return body
