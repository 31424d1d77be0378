"""Convert an envelope to a Flower ``RecordDict`` and back, in the same way on both sides.

* Record ``envelope``: exactly the byte strings ``body`` and ``signature``.
* Record ``blobs``, absent when there are none: arrays ``0``, ``1``, ... of uint8. Their bytes are sent as they are,
  so there is no ``.npy`` header to parse. Flower cuts each array into pieces of :data:`PIECE_BYTES`; the last one
  may be smaller.

Only this one form is accepted. The rest of ``privacy`` never imports this module, so it never imports Flower.
"""

from dataclasses import dataclass
from typing import Final

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.app.message import array as flower_array

from privacy.errors import WireError
from privacy.protocol.envelope import MAX_BODY_BYTES, Envelope

PIECE_BYTES: Final = 1 << 20
"""Size of a piece of a blob; a piece is sent in one request. With Flower's own size of 5 MB, a coordinator of many
sites would hold several times 5 MB in memory for each site that sends."""
_FRAME_BYTES: Final = 4096
"""More bytes than Flower writes around a body, and around each piece of a blob."""
_FRAME_PIECES: Final = 64
_ENVELOPE: Final = "envelope"
_BLOBS: Final = "blobs"
_PARTS: Final = ("body", "signature")
_RAW: Final = "consilium.bytes"

# Flower reads its constant from the environment when it is imported, so the module's own copy is replaced here
flower_array.__dict__["FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE"] = PIECE_BYTES


@dataclass(frozen=True)
class Limit:
    """The most pieces and bytes that a message may have, known before any of it is fetched."""

    pieces: int
    size: int

    @classmethod
    def from_blob_bytes(cls, blob_bytes: int) -> "Limit":
        """Return the limit for a message whose blobs have at most ``blob_bytes`` bytes."""
        pieces = _FRAME_PIECES + blob_bytes // PIECE_BYTES
        return cls(pieces, MAX_BODY_BYTES + blob_bytes + pieces * _FRAME_BYTES)

    def require(self, pieces: int, size: int = 0) -> None:
        """Check what is announced, or has arrived so far, against this limit.

        Raises:
            WireError: it is more than this limit.
        """
        if pieces > self.pieces:
            raise WireError(f"a message has {pieces} pieces, expected at most {self.pieces}")
        if size > self.size:
            raise WireError(f"a message has more than the {self.size} bytes that are taken here")


def to_records(envelope: Envelope) -> RecordDict:
    """Pack ``envelope`` for Flower; blobs are not copied."""
    records = RecordDict({_ENVELOPE: ConfigRecord({part: getattr(envelope, part) for part in _PARTS})})
    if envelope.blobs:
        arrays = {
            str(index): Array(dtype="uint8", shape=(len(blob),), stype=_RAW, data=blob)
            for index, blob in enumerate(envelope.blobs)
        }
        records[_BLOBS] = ArrayRecord(arrays)
    return records


def from_records(records: RecordDict) -> Envelope:
    """Unpack what :func:`to_records` packed; the envelope is still unverified.

    Raises:
        WireError: any other records, or a body that is too large.
    """
    extra = sorted(set(records) - {_ENVELOPE, _BLOBS})
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
    return Envelope(body, signature, _read_blobs(records))


def _read_blobs(records: RecordDict) -> tuple[bytes, ...]:
    if _BLOBS not in records:
        return ()
    arrays = records[_BLOBS]
    if not isinstance(arrays, ArrayRecord) or sorted(arrays) != sorted(str(index) for index in range(len(arrays))):
        raise WireError("an envelope's blobs must be arrays numbered from 0")
    blobs = [arrays[str(index)] for index in range(len(arrays))]
    if not blobs:
        raise WireError("an envelope without blobs must not have a blobs record")
    for blob in blobs:
        if blob.stype != _RAW or blob.dtype != "uint8" or tuple(blob.shape) != (len(blob.data),):
            raise WireError("an envelope's blob must be a flat uint8 array of raw bytes")
    return tuple(blob.data for blob in blobs)
