"""The types of text and number fields in terms and messages, with their limits."""

import unicodedata
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, PlainSerializer

from privacy.document import make_text_field

MAX_SITES: Final = 64

COORDINATOR: Final = "coordinator"

Name = Annotated[
    str,
    make_text_field(
        r"^[a-z][a-z0-9-]{0,39}$",
        "a name: a small letter, then small letters, digits and hyphens, at most 40 in all",
    ),
]


def _refuse_coordinator_name(name: str) -> str:
    if name == COORDINATOR:
        raise ValueError(f"'{COORDINATOR}' is what messages call the coordinator; choose another name for the site")
    return name


SiteName = Annotated[Name, AfterValidator(_refuse_coordinator_name)]


Contact = Annotated[str, make_text_field(r"^[^\x00-\x1f\x7f]{0,200}$", "a line of at most 200 characters")]
"""Whom to call: a name, a telephone number, an address for e-mail; on one line."""


def _normalise_word(word: str) -> str:
    if word != word.strip():
        raise ValueError("has spaces around it, which a table's words are read without; write it without them")
    return unicodedata.normalize("NFC", word)


Word = Annotated[str, AfterValidator(_normalise_word)]
"""A word of a table as it is read: Unicode NFC, no spaces around it."""

Column = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_normalise_word)]

# Public numbers have bounds of ordinary size. With a number near the ends of the floating-point range, the author
# of the terms could make a model not finite, or not change at all.
Positive = Annotated[float, Field(ge=1e-9, le=1e9)]
ClippingNorm = Annotated[float, Field(ge=1e-4, le=1e4)]
"""The clipping norm of a gradient, in a range where squares and sums of float32 keep their digits."""

LearningRate = Annotated[float, Field(ge=1e-9, le=1e38)]
"""Up to the largest float32. Whether a rate is too large depends on model and data: then the parameters diverge."""

ServerRate = Annotated[float, Field(ge=1e-6, le=1e3)]
RangeEnd = Annotated[float, Field(ge=-1e15, le=1e15)]
"""An end of a column's public range."""

LayerName = Annotated[
    str, make_text_field(r"^[A-Za-z_][A-Za-z0-9_.]{0,99}$", "the name of a layer: letters, digits, _ and .")
]
"""A layer of a model, as the model names it (``layers.2``); ``head`` is the last one that has parameters."""

Sha256 = Annotated[str, make_text_field(r"^[0-9a-f]{64}$", "a SHA-256: 64 digits of 0 to 9 and a to f")]


class NullIsWritten:
    """Annotates a field for the JSON schema: None is written as the word ``word``, never as null."""

    def __init__(self, word: str) -> None:
        self._word = word

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of the annotated type, with the word in place of null."""
        schema = handler(core)
        several = [{"const": self._word} if each == {"type": "null"} else each for each in schema["anyOf"]]
        return {**schema, "anyOf": several}


def _read_none(value: Any) -> Any:
    if value is None:
        raise ValueError("expected a number, or the word none for no privacy; got nothing")
    return None if value == "none" else value


Epsilon = Annotated[
    Annotated[float, Field(gt=0, le=100)] | None,
    BeforeValidator(_read_none),
    PlainSerializer(lambda value: "none" if value is None else value),
    NullIsWritten("none"),
]
"""A bound on the privacy loss; the word ``none`` (never an omission) says that there is no bound."""


def _read_auto(value: Any) -> Any:
    if value is None or (isinstance(value, str) and value != "auto"):
        raise ValueError(f"expected a number, or the word auto; got {'nothing' if value is None else repr(value)}")
    return None if value == "auto" else value


ValueRange = Annotated[
    Positive | None,
    BeforeValidator(_read_auto),
    PlainSerializer(lambda value: "auto" if value is None else value),
    NullIsWritten("auto"),
]
"""How large a value may be; with the word ``auto`` a rule computes it from public numbers.

The rule: ``privacy/mechanisms/value_range.py``.
"""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
KeyText = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
"""A public key as it is signed and sent: base64url of 32 bytes."""

OrderNonce = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""What makes two orders of the same study different (``privacy/study/launch.py``)."""

StudyId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}-[0-9a-f]{8}$")]
Count = Annotated[int, Field(ge=0, le=1 << 40)]


def require_rising(low: float, high: float) -> None:
    """Require the ends of a public range in their order.

    Raises:
        ValueError: they are not.
    """
    if low >= high:
        raise ValueError(f"expected low < high, got {low:g} and {high:g}")


def wrap_one(value: Any) -> Any:
    """Return a list of one word where a file has the word alone; everything else as it is."""
    return [value] if isinstance(value, str) else value
