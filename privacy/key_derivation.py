"""Every key that sealing derives: one secret, one key for each purpose and context.

HKDF-SHA256 with an info that begins with a numbered label and goes on with length-prefixed parts, so no two
purposes and no two lists of parts share an info.
"""

from enum import Enum

from privacy.keys import derive_key
from privacy.randomness import KeyStream


class Purpose(Enum):
    """The domain-separation labels. A number is never reused for another purpose."""

    PAIR_MASK = b"consilium sealing v1 01 pair mask"
    OWN_MASK = b"consilium sealing v1 02 own mask"
    CHECK_KEY = b"consilium sealing v1 03 check key"
    CHECK_COEFFICIENTS = b"consilium sealing v1 04 check coefficients"
    CHECK_OFFSETS = b"consilium sealing v1 05 check offsets"
    MODEL_DIGEST = b"consilium sealing v1 06 model digest"
    SEED_COMMITMENT = b"consilium sealing v1 07 seed commitment"


def derive(secret: bytes, purpose: Purpose, *parts: bytes) -> bytes:
    """The 32-byte key of ``secret`` for one ``purpose`` and these ``parts``."""
    pieces = (purpose.value, *parts)
    return derive_key(secret, b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces))


def derive_stream(secret: bytes, purpose: Purpose, *parts: bytes) -> KeyStream:
    """The keystream under :func:`derive`'s key."""
    return KeyStream(derive(secret, purpose, *parts))
