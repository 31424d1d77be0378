"""Define the mapping of a table: where each column of the contract comes from.

::

    mapping: 1
    contract: heart-patients
    split: {by: fraction, test: 0.25}
    source: {kind: csv, path: export.csv, encoding: cp1252, delimiter: ";", decimal: ","}
    columns:
      patient: PatNr                                  # the hospital's column, as it is
      sex: {from: Geschlecht, values: {w: "0", m: "1"}}
      chol: {from: Chol, unit: mmol/L, to_unit: mg/dL, molar_mass: 386.65, missing: ["-99"]}
      age: {kind: elapsed, from: GebDat, to: AufnDat, unit: completed years, format: DD.MM.YYYY}
      admitted: {kind: date, from: AufnDat, format: DD.MM.YYYY}
      findings: {kind: joined, from: [Befund, Diagnose]}
      centre: {kind: constant, value: "3"}

A column of the contract that is not listed is the source's column of the same name, as it is.

A file with ``groups`` leads to groups of patients for ``consilium-site report``, and to no study's records::

    columns: {patient: PatNr, ward: Station, age: {kind: elapsed, from: GebDat, to: AufnDat, unit: completed years}}
    groups: {ward: {words: [A2, B1]}, age: {bands: [40, 65, 80]}}
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from client.data.conversion.dates import ISO, check_format
from client.data.conversion.mapping import DataMapping
from client.data.conversion.sources import RowSource, SqlSource
from privacy.document import Document
from privacy.fields import Column, Word, wrap_one

Words = tuple[Word, ...]
ElapsedUnit = Literal["days", "hours", "weeks", "months", "years", "completed years"]


Formats = Annotated[tuple[str, ...], BeforeValidator(wrap_one), Field(min_length=1, max_length=10)]


class _Dated(Document):
    """What columns of dates have: the formats of their dates (``dates.py``), and the words that mean missing."""

    format: Formats = (ISO,)
    missing: Words = ()

    @field_validator("format")
    @classmethod
    def _usable_formats(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_format(each) for each in formats)


class TakenColumn(Document):
    """The words of one column of the source.

    Attributes:
        from_: the column.
        values: what words become. Other words stay as they are.
        otherwise: what all words become that are not in ``values``.
        missing: words that mean missing, besides those of the contract.
        unit: in which the numbers are, and ``to_unit`` that of the contract; both or none.
        molar_mass: of the substance in g/mol, for a unit of mass and one of amount.
        limits: whether ``<5`` counts as 5.
    """

    kind: Literal["column"] = "column"
    from_: Column = Field(alias="from")
    values: dict[Word, Word] = Field(default={})
    otherwise: Word | None = None
    missing: Words = ()
    unit: str | None = Field(default=None, min_length=1, max_length=100)
    to_unit: str | None = Field(default=None, min_length=1, max_length=100)
    molar_mass: float | None = Field(default=None, gt=0, le=1e9)
    limits: bool = False

    @model_validator(mode="after")
    def _whole_conversion(self) -> Self:
        if (self.unit is None) != (self.to_unit is None):
            raise ValueError("unit is the hospital's, to_unit the contract's; name both")
        if self.molar_mass is not None and self.unit is None:
            raise ValueError("molar_mass is for a conversion; name unit and to_unit")
        return self

    def list_columns(self) -> tuple[Column, ...]:
        """List the columns of the source that it needs."""
        return (self.from_,)


class ElapsedColumn(_Dated):
    """The time between two dates of a row, such as an age.

    Attributes:
        from_: the column of the first date.
        to: the column of the second.
        unit: a month is 30.436875 days and a year 365.2425; ``completed years`` are birthdays.
        negative: whether the second date may lie before the first; otherwise the row is left out.
    """

    kind: Literal["elapsed"]
    from_: Column = Field(alias="from")
    to: Column
    unit: ElapsedUnit
    negative: bool = False

    def list_columns(self) -> tuple[Column, ...]:
        """List the columns of the source that it needs."""
        return (self.from_, self.to)


class DateColumn(_Dated):
    """A date, written as the contract wants it: ``2024-03-01``."""

    kind: Literal["date"]
    from_: Column = Field(alias="from")

    def list_columns(self) -> tuple[Column, ...]:
        """List the columns of the source that it needs."""
        return (self.from_,)


class JoinedColumn(Document):
    """The words of several columns, one after another; missing if all are empty.

    Attributes:
        from_: the columns.
        between: what stands between two words.
    """

    kind: Literal["joined"]
    from_: tuple[Column, ...] = Field(alias="from", min_length=1, max_length=100)
    between: str = Field(default=" ", max_length=10)

    def list_columns(self) -> tuple[Column, ...]:
        """List the columns of the source that it needs."""
        return self.from_


class ConstantColumn(Document):
    """The same word in every row."""

    kind: Literal["constant"]
    value: Word

    def list_columns(self) -> tuple[Column, ...]:
        """List the columns of the source that it needs: none."""
        return ()


MappedColumn = TakenColumn | ElapsedColumn | DateColumn | JoinedColumn | ConstantColumn


def _read_name(value: Any) -> Any:
    return {"kind": "column", "from": value} if isinstance(value, str) else value


def _read_kind(value: Any) -> Any:
    return value.get("kind", "column") if isinstance(value, Mapping) else getattr(value, "kind", "column")


AnyColumn = Annotated[
    Annotated[TakenColumn, Tag("column")]
    | Annotated[ElapsedColumn, Tag("elapsed")]
    | Annotated[DateColumn, Tag("date")]
    | Annotated[JoinedColumn, Tag("joined")]
    | Annotated[ConstantColumn, Tag("constant")],
    Discriminator(_read_kind),
    BeforeValidator(_read_name),
]


class GroupRule(Document):
    """How a column divides patients: by its words, or by limits between bands of its numbers, in the column's unit."""

    words: Words = ()
    bands: tuple[Annotated[float, Field(ge=-1e12, le=1e12)], ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.words) == bool(self.bands):
            raise ValueError("name either its words or the limits of its bands")
        if len(self.words) == 1:
            raise ValueError("name at least two words; the column's key otherwise gives all others one word")
        if "" in self.words:
            raise ValueError("an empty word means missing, which is a group without being named")
        if len(set(self.words)) < len(self.words):
            raise ValueError("a word stands there twice")
        if any(low >= high for low, high in itertools.pairwise(self.bands)):
            raise ValueError("limits of bands rise from one to the next")
        return self


class TableMapping(DataMapping):
    """Where the columns of a table come from.

    Attributes:
        source: the rows.
        columns: by the names of the contract's columns, or of groups.
        groups: of patients, by their names; only in a file for ``consilium-site report --groups``.
    """

    source: RowSource
    columns: dict[Column, AnyColumn] = Field(default={})
    groups: dict[Column, GroupRule] = Field(default={})

    def find_column(self, name: str) -> MappedColumn:
        """Find where the contract's column ``name`` comes from."""
        return self.columns.get(name) or TakenColumn.model_validate({"from": name})


def list_table_files(mapping: TableMapping) -> dict[str, Path] | None:
    """List the file that a conversion reads; None if its source is a database."""
    source = mapping.source
    return None if isinstance(source, SqlSource) else {source.title: source.path}
