"""A contract of kind ``table``: columns, public ranges and vocabularies, and a label.

Its records become two or more tensors: ``features``, the numbers that each column becomes (``columns.py``) and its
missing-indicator; and the targets of its label (``labels.py``).
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from privacy.fields import Column, Word
from privacy.study.data.columns import Feature, count_encoded
from privacy.study.data.contract import DataContract, Tensors
from privacy.study.data.labels import Label
from privacy.study.data.tensors import Numbers


class TableContract(DataContract):
    """The table every site must have.

    A missing number or date counts as the middle of its range, a missing category or text as no value. All set the
    column's missing-indicator.
    """

    kind: Literal["table"] = "table"
    features: tuple[Feature, ...] = Field(min_length=1)
    scaled: Literal["signed", "unit"] = "signed"
    label: Label
    missing: tuple[Word, ...] = ("", "?")

    @model_validator(mode="after")
    def _distinct_columns(self) -> Self:
        columns = [self.patient, *self.label.list_columns(), *(feature.name for feature in self.features)]
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            raise ValueError(f"a column has one role; used twice: {', '.join(twice)}")
        return self

    @property
    def width(self) -> int:
        """Numbers per record: those that each column becomes, and each column's indicator."""
        return count_encoded(self.features)

    def list_inputs(self) -> Tensors:
        """List ``features``, the only input."""
        low = -1.0 if self.scaled == "signed" else 0.0
        return (Numbers(type="number", name="features", shape=(self.width,), low=low, high=1.0, scaled="none"),)

    def list_targets(self) -> Tensors:
        """List the targets of the label."""
        return self.label.list_targets()

    def list_columns(self) -> list[Column]:
        """List the columns that training needs: patient, label, features."""
        return [self.patient, *self.label.list_columns(), *(feature.name for feature in self.features)]
