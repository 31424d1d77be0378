"""The label of a data contract: what a study predicts."""

from typing import Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import Column, Word


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
