"""Canonical JSON: the one way to write a value (RFC 8785), and its SHA-256.

Rules:

* Everything that is signed, chained or compared (terms, ledger entries, messages) is written by this module, so two
  parties that hold the same value hold the same bytes.
* Duplicate keys, NaN and infinities are refused.
* Bytes and values come from other parties. Whatever they are, the only error raised is a ``WireError``.

>>> to_canonical({"b": 1.0, "a": [True, None]})
b'{"a":[true,null],"b":1}'
>>> from_canonical(b'{"a":[true,null],"b":1}')
{'a': [True, None], 'b': 1}
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import rfc8785

from privacy.errors import WireError

_LARGEST_INTEGER: Final = 2**53 - 1
_LEAST_DECIMAL: Final = 1e-4
"""Python writes smaller numbers with an exponent, RFC 8785 (ECMAScript) only those below 1e-6."""

_WHOLE: Final = {int}

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


def to_canonical(value: Json) -> bytes:
    """Return the RFC 8785 bytes of ``value``.

    Raises:
        WireError: ``value`` has no canonical form (NaN, an integer beyond 2^53, a key that is not text, half of a
            surrogate pair, nested too deeply).
    """
    try:
        try:
            return _encode(_prepare(value)).encode()
        except (_UnlikeError, TypeError):  # the latter: a key that is not text
            return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise WireError(f"a value has no canonical JSON form: {error}") from None
    except Exception as error:  # the library has no promise for odd values: UnicodeEncodeError, RecursionError, ...
        raise WireError(f"a value has no canonical JSON form ({type(error).__name__})") from None


_encode: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


class _UnlikeError(Exception):
    """Python's own encoder writes the value in another way than RFC 8785, or where RFC 8785 refuses."""


def _prepare(value: Any) -> Any:
    """Return a value whose form by Python's own encoder is the canonical form of ``value``.

    That encoder is several times faster than the library. It differs in the order of keys beyond ASCII, in whole
    numbers that are held as floats, in very small and very large numbers, and in what it refuses.

    Raises:
        _UnlikeError: there is no such value.
    """
    kind = type(value)
    if kind is dict:
        # a verified ledger has hundreds of thousands of these, and most are written as they are
        if not "".join(value).isascii():
            raise _UnlikeError
        changed = {}
        for key, inside in value.items():
            if type(inside) is str or (type(inside) is int and -_LARGEST_INTEGER <= inside <= _LARGEST_INTEGER):
                continue
            prepared = _prepare(inside)
            if prepared is not inside:
                changed[key] = prepared
        return {**value, **changed} if changed else value
    if kind is list or kind is tuple:
        if {*map(type, value)} != _WHOLE:
            return [inside if type(inside) is str else _prepare(inside) for inside in value]
        if min(value) >= -_LARGEST_INTEGER and max(value) <= _LARGEST_INTEGER:  # what an event costs at each order
            return value
    elif kind is str or kind is bool or value is None or (kind is int and abs(value) <= _LARGEST_INTEGER):
        return value
    elif kind is float and abs(value) <= _LARGEST_INTEGER:
        if value.is_integer():
            return int(value)
        if abs(value) >= _LEAST_DECIMAL:
            return value
    raise _UnlikeError


def from_canonical(data: bytes) -> Any:
    """Parse ``data``, which must be exactly the canonical form of its value.

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
    """Parse a whole number; beyond 2^53 it is a double, as in RFC 8785."""
    value = int(text)
    return value if abs(value) <= _LARGEST_INTEGER else float(text)


def compute_sha256(data: bytes | memoryview) -> str:
    """Compute the SHA-256 of ``data`` in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def compute_digest(value: Json) -> str:
    """Compute the SHA-256 of the canonical form of ``value``, in lower-case hexadecimal."""
    return compute_sha256(to_canonical(value))
