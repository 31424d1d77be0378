"""One way to write a value down: RFC 8785 canonical JSON, and its SHA-256.

Everything that is signed, chained or compared (terms, ledger entries, messages) passes through here, so two
parties that hold the same value hold the same bytes. Duplicate keys, NaN and infinities are refused.

Bytes and values come from other parties: whatever they are, the only error that leaves here is a WireError.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import rfc8785

from privacy.errors import WireError

_LARGEST_INTEGER: Final = 2**53 - 1

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


def to_canonical(value: Json) -> bytes:
    """The RFC 8785 bytes of ``value``.

    Raises:
        WireError: ``value`` has no canonical form (NaN, an integer beyond 2^53, a key that is not text, half of a
            surrogate pair, nested too deeply).
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise WireError(f"a value has no canonical JSON form: {error}") from None
    except Exception as error:  # the library has no promise for odd values: UnicodeEncodeError, RecursionError, ...
        raise WireError(f"a value has no canonical JSON form ({type(error).__name__})") from None


def from_canonical(data: bytes) -> Any:
    """The value of ``data``, which must be exactly its canonical form.

    Raises:
        WireError: not JSON, or JSON written in another way (other key order, spaces, duplicate keys).
    """
    try:
        value = json.loads(data, parse_int=_parse_whole_number)
    except Exception:  # ValueError, RecursionError, and what a number of absurd length may raise
        raise WireError(f"expected canonical JSON, got {len(data)} bytes that are not JSON") from None
    if to_canonical(value) != data:
        raise WireError("expected canonical JSON (RFC 8785), got JSON written in another way")
    return value


def _parse_whole_number(text: str) -> int | float:
    """A whole number; beyond 2^53 RFC 8785 knows only the double."""
    value = int(text)
    return value if abs(value) <= _LARGEST_INTEGER else float(text)


def compute_sha256(data: bytes) -> str:
    """SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def compute_digest(value: Json) -> str:
    """SHA-256 of the canonical form, in lower-case hexadecimal."""
    return compute_sha256(to_canonical(value))
