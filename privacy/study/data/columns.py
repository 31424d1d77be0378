"""The columns of a data contract that become inputs of the model.

Ranges and vocabularies are public choices of the study's author, never read from patients.
"""

import datetime
import hashlib
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import Column, RangeEnd, Word, require_rising

_NARROWEST: Final = 1e-15  # of a column's range
_NARROWEST_PART: Final = 1e-9  # of its larger end
_WORDS: Final = re.compile(r"[^\W_]+")


class Number(Document):
    """A numeric column, scaled from its public range to [-1, 1]; beyond the range it is clipped.

    The ends lie between -1e15 and 1e15. They differ by at least 1e-15, and by at least a billionth of the larger
    one, so that scaling keeps a value's digits.
    """

    kind: Literal["number"]
    name: Column
    low: RangeEnd
    high: RangeEnd

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        require_rising(self.low, self.high)
        if self.high - self.low < max(_NARROWEST, _NARROWEST_PART * max(abs(self.low), abs(self.high))):
            raise ValueError(
                f"low {self.low!r} and high {self.high!r} are too near each other to tell values between them apart; "
                "take a wider range, or another unit"
            )
        return self


class Category(Document):
    """A column with a public vocabulary, one-hot encoded; a word outside it breaks the contract."""

    kind: Literal["category"]
    name: Column
    values: tuple[Word, ...] = Field(min_length=2, max_length=1000)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.values)) < len(self.values):
            raise ValueError("a value is listed twice")
        return self


class Date(Document):
    """A column of dates, written ``2024-03-01``, as days in a public range, or by its place in the year.

    A place in the year is two numbers, the sine and the cosine of its angle, so that December is beside January.
    """

    kind: Literal["date"]
    name: Column
    taken: Literal["days", "month", "day_of_year"] = "days"
    earliest: datetime.date | None = None
    latest: datetime.date | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.taken != "days":
            if self.earliest is not None or self.latest is not None:
                raise ValueError(f"taken: {self.taken} has no range; leave out earliest and latest")
        elif self.earliest is None or self.latest is None:
            raise ValueError("name the public range: earliest and latest")
        elif self.earliest >= self.latest:
            raise ValueError(f"expected earliest < latest, got {self.earliest} and {self.latest}")
        return self

    @property
    def days(self) -> tuple[float, float]:
        """The ends of the range, as days since 1970-01-01."""
        assert self.earliest is not None
        assert self.latest is not None
        epoch = datetime.date(1970, 1, 1)
        return float((self.earliest - epoch).days), float((self.latest - epoch).days)


class Text(Document):
    """A column of text, as the set of its words: those of a public list, or by their hash in one of some buckets.

    A word is a run of letters or digits, in Unicode NFKC, without letter case. The bucket of a word is the first eight
    bytes of the SHA-256 of its UTF-8, as a number, modulo ``buckets``: it is the same at every site, and needs no list
    made of patients' texts. Words may share a bucket.
    """

    kind: Literal["text"]
    name: Column
    buckets: int | None = Field(default=None, ge=2, le=100_000)
    words: tuple[Word, ...] | None = Field(default=None, min_length=1, max_length=100_000)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.buckets is None) == (self.words is None):
            raise ValueError("name either buckets or words")
        if wrong := [word for word in self.words or () if list_words(word) != [word]]:
            raise ValueError(f"words: expected single words in small letters, got {', '.join(wrong[:5])}")
        if self.words is not None and len(set(self.words)) < len(self.words):
            raise ValueError("a word is listed twice")
        return self

    @property
    def places(self) -> int:
        """How many words or buckets there are."""
        return len(self.words) if self.words is not None else self.buckets or 0

    def find_places(self, text: str) -> set[int]:
        """Return the places, from 0, of the words of ``text``; a word that is in no list has none."""
        if self.words is not None:
            known = _number_words(self.words)
            return {known[word] for word in list_words(text) if word in known}
        return {find_bucket(word, self.buckets or 1) for word in list_words(text)}


Feature = Annotated[Number | Category | Date | Text, Field(discriminator="kind")]


def list_words(text: str) -> list[str]:
    """List the words of a text: runs of letters or digits, in Unicode NFKC, without letter case.

    >>> list_words("Dyspn\u00f6 NYHA-III")
    ['dyspn\u00f6', 'nyha', 'iii']
    """
    return _WORDS.findall(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()))


@lru_cache(maxsize=1 << 16)
def find_bucket(word: str, buckets: int) -> int:
    """Return the bucket of a word, from 0: the first eight bytes of its SHA-256, modulo ``buckets``."""
    return int.from_bytes(hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()[:8], "big") % buckets


def count_encoded(features: Iterable[Number | Category | Date | Text]) -> int:
    """Count the numbers that columns become: of a column itself, and an indicator that it is missing.

    >>> count_encoded([Number(kind="number", name="age", low=0, high=100)])
    2
    """
    return sum(1 + count_numbers(feature) for feature in features)


def count_numbers(feature: Number | Category | Date | Text) -> int:
    """Count the numbers that a column becomes, without its indicator.

    One for a number and for days; one for each word of a category, and of a text; two for a place in the year.
    """
    match feature:
        case Number():
            return 1
        case Category():
            return len(feature.values)
        case Date():
            return 1 if feature.taken == "days" else 2
        case Text():
            return feature.places


@lru_cache(maxsize=8)
def _number_words(words: tuple[str, ...]) -> dict[str, int]:
    return {word: place for place, word in enumerate(words)}
