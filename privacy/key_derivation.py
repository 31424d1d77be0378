"""Every key that sealing derives: one secret, one key for each purpose and context.

HKDF-SHA256 with an info that begins with a numbered label and goes on with length-prefixed parts, so no two
purposes and no two lists of parts share an info.
"""

from enum import Enum

from privacy import labels
from privacy.keys import derive_key
from privacy.randomness import KeyStream


class Purpose(Enum):
    """The domain-separation labels. A number is never reused for another purpose."""

    PAIR_MASK = labels.PAIR_MASK.encode()
    OWN_MASK = labels.OWN_MASK.encode()
    CHECK_KEY = labels.CHECK_KEY.encode()
    CHECK_COEFFICIENTS = labels.CHECK_COEFFICIENTS.encode()
    CHECK_OFFSETS = labels.CHECK_OFFSETS.encode()
    MODEL_DIGEST = labels.MODEL_DIGEST.encode()
    SEED_COMMITMENT = labels.SEED_COMMITMENT.encode()


def derive(secret: bytes, purpose: Purpose, *parts: bytes) -> bytes:
    """The 32-byte key of ``secret`` for one ``purpose`` and these ``parts``."""
    pieces = (purpose.value, *parts)
    return derive_key(secret, b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces))


def derive_stream(secret: bytes, purpose: Purpose, *parts: bytes) -> KeyStream:
    """The keystream under :func:`derive`'s key."""
    return KeyStream(derive(secret, purpose, *parts))
