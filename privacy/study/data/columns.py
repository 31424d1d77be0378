"""The columns of a data contract that become inputs of the model.

Ranges and vocabularies are public choices of the study's author, never read from patients.
"""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import Column, RangeEnd, Word

_NARROWEST: Final = 1e-15  # of a column's range
_NARROWEST_PART: Final = 1e-9  # of its larger end


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
