"""Write signatures and wrapped keys as base64url text for JSON (RFC 4648, section 5).

A signature has no padding. A wrapped key has padding.
"""

import base64
import binascii

from privacy.errors import Error, LedgerError, WireError


def encode_signature(signature: bytes) -> str:
    """Write a signature as 86 characters of base64url."""
    return base64.urlsafe_b64encode(signature).decode("ascii").rstrip("=")


def decode_signature(text: str, error: type[Error] = LedgerError) -> bytes:
    """Undo :func:`encode_signature`; there is one way to write a signature.

    A second way would give the same statement another digest: base64 ignores foreign characters and the last two bits.

    Raises:
        error: it is written in another way.
    """
    try:
        signature = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        signature = b""
    if len(signature) != 64 or encode_signature(signature) != text:
        raise error("a signature is not 64 bytes in base64url")
    return signature


def encode_wrapped_key(data: bytes) -> str:
    """Write the bytes of a wrapped key as text."""
    return base64.urlsafe_b64encode(data).decode("ascii")


def decode_wrapped_key(text: str) -> bytes:
    """Undo :func:`encode_wrapped_key`.

    Raises:
        WireError: not base64url.
    """
    try:
        return base64.urlsafe_b64decode(text)
    except ValueError:
        raise WireError("a wrapped key is not written in base64url") from None
