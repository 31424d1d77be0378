"""The table that every site of a study must have."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import Column, Name, RangeEnd, Word

_NARROWEST: Final = 1e-15  # of a column's range
_NARROWEST_PART: Final = 1e-9  # of its larger end


class Number(Document):
    """A numeric column, scaled from its public range to [-1, 1]; beyond the range it is clipped.

    The ends lie within 1e15 on both sides, and apart by at least 1e-15 and a billionth of the larger one: scaling
    then keeps a value's digits.
    """

    kind: Literal["number"]
    name: Column
    low: RangeEnd
    high: RangeEnd

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"expected low < high, got {self.low:g} and {self.high:g}")
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


class BinaryLabel(Document):
    """What is predicted: the words that mean yes and the words that mean no."""

    name: Column
    positive: tuple[Word, ...] = Field(min_length=1)
    negative: tuple[Word, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        if set(self.positive) & set(self.negative):
            raise ValueError("a word is both positive and negative")
        return self


class DataContract(Document):
    """The table every site must have: columns, public ranges and vocabularies.

    A missing number counts as the middle of its range, a missing category as no value; both raise the column's
    missing-indicator. A patient with more than ``records_per_patient`` records keeps the first ones in file
    order.
    """

    name: Name
    patient: Column
    ranges_from: str = Field(min_length=1, max_length=400)
    features: tuple[Annotated[Number | Category, Field(discriminator="kind")], ...] = Field(min_length=1)
    label: BinaryLabel
    missing: tuple[Word, ...] = ("", "?")
    records_per_patient: int = Field(default=1, ge=1, le=10_000)

    @model_validator(mode="after")
    def _distinct_columns(self) -> Self:
        columns = [self.patient, self.label.name, *(feature.name for feature in self.features)]
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            raise ValueError(f"a column has one role; used twice: {', '.join(twice)}")
        return self

    @property
    def inputs(self) -> int:
        """Numbers a record becomes: one a numeric column, one a vocabulary word, one indicator a column."""
        return sum(2 if feature.kind == "number" else 1 + len(feature.values) for feature in self.features)
