"""Convert an envelope to a Flower ``RecordDict`` and back, in the same way on both sides.

A message has one record, ``envelope``: exactly the byte strings ``body`` and ``signature``. Only this one form is
accepted. Blobs travel beside it (``docs/wire.md``). The rest of ``privacy`` never imports this module, so it never
imports Flower.
"""

from typing import Final

from flwr.app import ConfigRecord, RecordDict

from privacy.errors import WireError
from privacy.protocol.envelope import MAX_BODY_BYTES, Envelope

MAX_PIECES: Final = 64
"""More pieces than Flower makes of a message."""
MAX_MESSAGE_BYTES: Final = MAX_BODY_BYTES + MAX_PIECES * 4096
"""The largest body, with room for Flower's frame around it."""
_ENVELOPE: Final = "envelope"
_PARTS: Final = ("body", "signature")


def require_small(pieces: int, size: int = 0) -> None:
    """Check what is announced of a message, or has arrived so far.

    Raises:
        WireError: it is more than any message has.
    """
    if pieces > MAX_PIECES:
        raise WireError(f"a message has {pieces} pieces, expected at most {MAX_PIECES}")
    if size > MAX_MESSAGE_BYTES:
        raise WireError(f"a message has more than the {MAX_MESSAGE_BYTES} bytes that are taken here")


def to_records(envelope: Envelope) -> RecordDict:
    """Pack the body and the signature of ``envelope`` for Flower."""
    return RecordDict({_ENVELOPE: ConfigRecord({part: getattr(envelope, part) for part in _PARTS})})


def from_records(records: RecordDict) -> Envelope:
    """Unpack what :func:`to_records` packed; the envelope is still unverified, and has no blobs yet.

    Raises:
        WireError: any other records, or a body that is too large.
    """
    extra = sorted(set(records) - {_ENVELOPE})
    if extra:
        raise WireError(f"a message holds {len(extra)} records that are no part of an envelope")
    envelope = records.get(_ENVELOPE)
    if not isinstance(envelope, ConfigRecord) or sorted(envelope) != sorted(_PARTS):
        raise WireError("a message holds no envelope record of exactly a body and a signature")
    body, signature = (envelope[part] for part in _PARTS)
    if not isinstance(body, bytes) or not isinstance(signature, bytes):
        raise WireError("an envelope's body and signature must be bytes")
    if len(body) > MAX_BODY_BYTES:
        raise WireError(f"a message body has {len(body)} bytes, expected at most {MAX_BODY_BYTES}")
    return Envelope(body, signature)
