"""The mapping of a contract of kind ``events``: where a hospital's events are, and how they are written.

Events come from tables with one event a row, or several codes a row (``tables``), from a database of the OMOP common
data model 5.4 (``omop``), or from files of a FHIR R4 bulk export (``fhir``).
"""

import zoneinfo
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from client.data.conversion.dates import ISO
from client.data.conversion.events.times import UNITS_S, check_time_form, find_zone
from client.data.conversion.mapping import DataMapping
from client.data.conversion.sources import RowSource
from privacy.document import Document
from privacy.fields import Column, wrap_one
from privacy.study.data.code_systems import CodeSystem
from privacy.study.data.event_criteria import CodeName


def _check_forms(forms: tuple[str, ...]) -> tuple[str, ...]:
    if len(forms) > 1 and any(form in UNITS_S for form in forms):
        raise ValueError("a unit of time stands alone")
    return tuple(check_time_form(form) for form in forms)


TimeForms = Annotated[
    tuple[str, ...], BeforeValidator(wrap_one), Field(min_length=1, max_length=10), AfterValidator(_check_forms)
]


class CodeColumn(Document):
    """A column of codes.

    Attributes:
        column: its name.
        system: of its codes; or ``system_column`` tells the system of each row, by the words of ``systems``.
        unlisted: a row with another word there is ``left-out``; or its code is ``counted`` as one that becomes nothing.
        zeros_cut: codes of ICD-9-CM have lost their leading zeros, and kept their dots: 8 is 008.
        prefix: put before each word, for ``other`` codes of several columns.
        missing: words that mean no code.
    """

    column: Column
    system: CodeSystem | None = None
    system_column: Column | None = None
    systems: dict[str, CodeSystem] = Field(default={}, max_length=100)
    unlisted: Literal["left-out", "counted"] = "left-out"
    zeros_cut: bool = False
    prefix: str = Field(default="", max_length=100)
    missing: tuple[str, ...] = ("",)

    @model_validator(mode="after")
    def _one_system(self) -> Self:
        if (self.system is None) == (self.system_column is None):
            raise ValueError("expected system, or system_column with systems")
        if self.zeros_cut and "icd9cm" not in (self.system, *self.systems.values()):
            raise ValueError("zeros_cut is for codes of icd9cm")
        if self.prefix and self.system != "other":
            raise ValueError("prefix is for system: other")
        return self


class MeasuredColumn(Document):
    """A column of values of one thing, in a table with a row for each visit or examination.

    Attributes:
        column: its name.
        code: what is measured.
        unit: of the values.
        words: the hospital's words, each with the number that it counts as, such as {no: 0, yes: 1}.
        missing: words that mean that it was not measured.
    """

    column: Column
    code: CodeName
    unit: str = Field(default="", max_length=40)
    words: dict[str, float] = Field(default={}, max_length=1000)
    missing: tuple[str, ...] = ("",)


class EventTable(Document):
    """A table with an event a row, or with several values of one moment in columns of their own.

    Attributes:
        source: where it is.
        patient, time, visit: the columns that say whose, when, and in which visit.
        format: how times are written (``times.py``).
        codes: the columns of codes.
        translate: the hospital's own codes, each with the public one that it means.
        value, unit: the columns of a measured value and its unit.
        units: the hospital's words for units, each with the one that it means; the empty word is a missing one.
        limits: whether ``<5`` in the column of values counts as 5.
        measured: columns that hold the values of one thing each; ``codes`` and ``value`` are of other columns.
        text: a column of notes; they are searched, and not kept.
    """

    source: RowSource
    patient: Column
    time: Column
    format: TimeForms = (ISO,)
    visit: Column | None = None
    codes: tuple[CodeColumn, ...] = Field(default=(), max_length=50)
    translate: dict[str, CodeName] = Field(default={}, max_length=100_000)
    value: Column | None = None
    unit: Column | None = None
    units: dict[str, str] = Field(default={}, max_length=1000)
    limits: bool = False
    measured: tuple[MeasuredColumn, ...] = Field(default=(), max_length=1000)
    text: Column | None = None

    @model_validator(mode="after")
    def _with_something(self) -> Self:
        if not self.codes and not self.measured and self.text is None:
            raise ValueError("expected columns of codes, measured columns, or a column of text")
        if self.value is not None and not self.codes:
            raise ValueError("value is of the row's codes; columns of one thing each are listed in measured")
        return self


class FactColumn(Document):
    """A column with a word about a patient; ``words`` gives the contract's word for the hospital's."""

    column: Column
    words: dict[str, str] = Field(default={}, max_length=1000)


class PersonTable(Document):
    """A table with a patient a row.

    Attributes:
        source, patient, format: as of an event table.
        birth, death: columns of dates.
        followed: the column of the last day until which what happens to the patient is known.
        facts: columns of the contract's static facts, by the contract's names.
    """

    source: RowSource
    patient: Column
    format: TimeForms = (ISO,)
    birth: Column | None = None
    death: Column | None = None
    followed: Column | None = None
    facts: dict[Column, FactColumn] = Field(default={}, max_length=100)


class VisitTable(Document):
    """A table with a visit a row: its number, beginning, and end if there is one."""

    source: RowSource
    patient: Column
    visit: Column
    format: TimeForms = (ISO,)
    start: Column
    end: Column | None = None


class Tables(Document):
    """Tables of events, and perhaps of patients and of visits."""

    kind: Literal["tables"]
    events: tuple[EventTable, ...] = Field(min_length=1, max_length=100)
    visits: tuple[VisitTable, ...] = Field(default=(), max_length=10)
    persons: tuple[PersonTable, ...] = Field(default=(), max_length=10)


OmopTable = Literal[
    "condition_occurrence", "drug_exposure", "procedure_occurrence", "measurement", "observation", "device_exposure",
    "note",
]  # fmt: skip


class Omop(Document):
    """A database of the OMOP common data model 5.4.

    Attributes:
        url, password_env, password_file: as of a source of kind ``sql``.
        cdm_schema: the schema of the tables, if they are not in the first one.
        tables: those that are read, beside person, visit_occurrence, death and observation_period.
        codes: ``source`` codes, as the hospital recorded them, by their concepts; or those of ``standard`` concepts.
        vocabularies: the code systems of OMOP's vocabularies that are used beside the usual ones.
        units: as of an event table.
    """

    kind: Literal["omop"]
    url: str
    password_env: str | None = None
    password_file: Path | None = None
    cdm_schema: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")] | None = None
    tables: tuple[OmopTable, ...] = (
        "condition_occurrence", "drug_exposure", "procedure_occurrence", "measurement",
    )  # fmt: skip
    codes: Literal["source", "standard"] = "source"
    vocabularies: dict[str, CodeSystem] = Field(default={}, max_length=100)
    units: dict[str, str] = Field(default={}, max_length=1000)

    @field_validator("url")
    @classmethod
    def _usable_url(cls, url: str) -> str:
        from client.data.adapters.sql import check_url

        check_url(url)
        return url

    @model_validator(mode="after")
    def _distinct_tables(self) -> Self:
        if len(set(self.tables)) < len(self.tables) or not self.tables:
            raise ValueError("tables: expected each of them once, and at least one")
        return self


class Fhir(Document):
    """Files of a FHIR R4 bulk export: one resource a line, ``.ndjson`` or ``.ndjson.gz``.

    Attributes:
        folder: all files of this folder are read.
        identifier: the system of the identifier that names a patient; without it the resource's id does.
        systems: code systems by their URI that are used beside the usual ones.
        units: as of an event table.
    """

    kind: Literal["fhir"]
    folder: Path
    identifier: str | None = Field(default=None, min_length=1, max_length=500)
    systems: dict[str, CodeSystem] = Field(default={}, max_length=100)
    units: dict[str, str] = Field(default={}, max_length=1000)


class MapFile(Document):
    """The file of one of the contract's maps between code systems; its digest must be the contract's."""

    source: CodeSystem
    target: CodeSystem
    path: Path


class EventsMapping(DataMapping):
    """Where the events are.

    Attributes:
        zone: the hospital's time zone, such as ``Europe/Berlin``; needed if times have offsets.
        maps: the files of the contract's maps.
    """

    origin: Annotated[Tables | Omop | Fhir, Field(discriminator="kind")]
    zone: str | None = None
    maps: tuple[MapFile, ...] = Field(default=(), max_length=20)

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str | None) -> str | None:
        if zone is not None:
            find_zone(zone)
        return zone

    @model_validator(mode="after")
    def _zone_for_fhir(self) -> Self:
        if self.origin.kind == "fhir" and self.zone is None:
            raise ValueError(
                "zone: missing; times in FHIR have offsets, so name the hospital's, such as Europe/Berlin"
            )
        return self

    def find_zone(self) -> zoneinfo.ZoneInfo | None:
        """Return the time zone, if one is named."""
        return None if self.zone is None else find_zone(self.zone)
