"""The table that every site of a study must have."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import Column, Name, Word
from privacy.study.data.columns import Category, Number
from privacy.study.data.labels import BinaryLabel


class DataContract(Document):
    """The table every site must have: columns, public ranges and vocabularies.

    A missing number counts as the middle of its range, a missing category as no value. Both set the column's
    missing-indicator. Of a patient with more than ``records_per_patient`` records, the first ones in file order are
    used.
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
        """Inputs per record: one for each numeric column, each vocabulary word, and each column's indicator."""
        return sum(2 if feature.kind == "number" else 1 + len(feature.values) for feature in self.features)
