"""Derive every key that sealing needs from one secret: one key for each purpose and context.

HKDF-SHA256 (RFC 5869). Its ``info`` input (section 3.2) is a numbered label followed by length-prefixed parts, so
no two purposes and no two lists of parts share an ``info``.
"""

from enum import Enum

from privacy import labels
from privacy.keys import derive_key
from privacy.randomness import KeyStream


class KeyPurpose(Enum):
    """Domain-separation labels. A number is never reused for another purpose."""

    PAIR_MASK = labels.PAIR_MASK.encode()
    OWN_MASK = labels.OWN_MASK.encode()
    CHECK_KEY = labels.CHECK_KEY.encode()
    CHECK_COEFFICIENTS = labels.CHECK_COEFFICIENTS.encode()
    CHECK_OFFSETS = labels.CHECK_OFFSETS.encode()
    MODEL_DIGEST = labels.MODEL_DIGEST.encode()
    SEED_COMMITMENT = labels.SEED_COMMITMENT.encode()
    PAILLIER_KEY = labels.PAILLIER_KEY.encode()
    LWE_SECRET = labels.LWE_SECRET.encode()
    THRESHOLD_COMMON = labels.THRESHOLD_COMMON.encode()


def derive(secret: bytes, purpose: KeyPurpose, *parts: bytes) -> bytes:
    """Return the 32-byte key of ``secret`` for one ``purpose`` and these ``parts``."""
    # without the lengths, the parts (ab, c) and (a, bc) would give the same key
    pieces = (purpose.value, *parts)
    return derive_key(secret, b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces))


def derive_stream(secret: bytes, purpose: KeyPurpose, *parts: bytes) -> KeyStream:
    """Return the keystream under the key of :func:`derive`."""
    return KeyStream(derive(secret, purpose, *parts))
