"""Convert the flat messages of ``control.proto`` to and from dictionaries.

* A field whose name ends in ``_json`` has the name without it in the dictionary, and the parsed value.
* A field that is missing has its default of protobuf 3: an empty text, 0, no item, None for ``_json``.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from privacy.errors import WireError

_JSON: Final = "_json"
M = TypeVar("M", bound=Message)


def to_message(kind: type[M], fields: Mapping[str, Any]) -> M:
    """Make a message of ``kind`` from a dictionary.

    Raises:
        KeyError: the message has no such field; a mistake of the caller's code.
    """
    message: M = kind()
    known = {field.name.removesuffix(_JSON): field for field in kind.DESCRIPTOR.fields}
    for name, value in fields.items():
        field = known[name]
        if field.name.endswith(_JSON):
            setattr(message, field.name, json.dumps(value))
        elif field.is_repeated:
            getattr(message, field.name).extend(value)
        else:
            setattr(message, field.name, value)
    return message


def to_fields(message: Message) -> dict[str, Any]:
    """Return the fields of a message as a dictionary.

    Raises:
        WireError: a ``_json`` field is no JSON.
    """
    fields: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.name.endswith(_JSON):
            fields[field.name.removesuffix(_JSON)] = _parse(field.name, value)
        else:
            fields[field.name] = list(value) if field.is_repeated else value
    return fields


def parse_message(kind: type[M], data: bytes) -> M:
    """Parse a message of ``kind``.

    Raises:
        WireError: the bytes are none.
    """
    try:
        message: M = kind.FromString(data)
    except DecodeError:
        raise WireError(f"expected a message {kind.DESCRIPTOR.full_name}, got other bytes") from None
    return message


def _parse(name: str, text: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise WireError(f"{name}: expected JSON") from None
