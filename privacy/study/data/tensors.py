"""Named tensors: what a record of a study consists of, as numbers, and what is predicted of it.

A contract of any kind becomes named tensors. Models and tasks know these only: their names, types, shapes and public
ranges. Shapes are those of one record; the axis of records stands before them.

============  ===================================  =========================================================
type          what it holds                        in memory
============  ===================================  =========================================================
``number``    numbers in a public range            float32; clipped to the range, then scaled as ``scaled``
                                                   says: ``unit`` to [0, 1], ``signed`` to [-1, 1], ``none``
``id``        words of a vocabulary, by number     int64 in 0..values-1
``flag``      yes or no (a mask, a missingness)    bool
============  ===================================  =========================================================
"""

import math
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from privacy.document import Document, make_text_field
from privacy.fields import RangeEnd, require_rising

MOST_VALUES: Final = 1 << 28
"""The most values that one record may have in one tensor: one GiB of float32."""

TensorName = Annotated[
    str,
    make_text_field(
        r"^[a-z][a-z0-9_]{0,39}$",
        "the name of a tensor: a small letter, then small letters, digits and _, at most 40",
    ),
]
Shape = Annotated[tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...], Field(max_length=5)]


class Numbers(Document):
    """Numbers in a public range."""

    type: Literal["number"]
    name: TensorName
    shape: Shape = ()
    low: RangeEnd
    high: RangeEnd
    scaled: Literal["unit", "signed", "none"] = "unit"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        require_rising(self.low, self.high)
        _require_size(self.shape)
        return self

    @property
    def range(self) -> tuple[float, float]:
        """The range of the numbers that a model sees."""
        return {"unit": (0.0, 1.0), "signed": (-1.0, 1.0), "none": (self.low, self.high)}[self.scaled]


class Ids(Document):
    """Words of a public vocabulary of ``values`` words, each by its number; often 0 stands for no word."""

    type: Literal["id"]
    name: TensorName
    shape: Shape = ()
    values: int = Field(ge=2, le=10_000_000)

    @model_validator(mode="after")
    def _of_usable_size(self) -> Self:
        _require_size(self.shape)
        return self


class Flags(Document):
    """Yes or no."""

    type: Literal["flag"]
    name: TensorName
    shape: Shape = ()

    @model_validator(mode="after")
    def _of_usable_size(self) -> Self:
        _require_size(self.shape)
        return self


Tensor = Annotated[Numbers | Ids | Flags, Field(discriminator="type")]


def describe_tensor(tensor: Numbers | Ids | Flags) -> str:
    """Describe type and shape of a tensor: ``number (48, 37)``."""
    shape = "x".join(str(length) for length in tensor.shape) or "one value"
    words = f" of {tensor.values} words" if isinstance(tensor, Ids) else ""
    return f"{tensor.type}{words}, {shape}"


def _require_size(shape: tuple[int, ...]) -> None:
    if (count := math.prod(shape)) > MOST_VALUES:
        raise ValueError(f"a record has {count} values here, expected at most {MOST_VALUES}")
