"""Read events from a database of the OMOP common data model 5.4, as tables that queries give.

Source: OHDSI, OMOP CDM v5.4 specification, https://ohdsi.github.io/CommonDataModel/cdm54.html.

Rules:

* a code is that of a concept: the one of the source, or the standard one, as the mapping says. A row whose concept is 0
  or unknown has no code, and is counted as an event without one;
* the time is the ``_datetime`` column, or the ``_date`` column where that is empty;
* a patient is followed until the end of the last observation period; the birth is ``birth_datetime``, or year, month
  and day as far as they are there;
* a code of a vocabulary that no system is known for becomes nothing, and is counted and listed;
* a value with the operator of a limit, such as <, is none;
* identifiers are whole numbers in the model, also where a database stores them as numbers with a point.
"""

from typing import Any, Final, NamedTuple

from client.data.conversion.events.mapping import (
    CodeColumn,
    EventTable,
    FactColumn,
    Omop,
    PersonTable,
    Tables,
    VisitTable,
)
from client.data.conversion.sources import SqlSource
from privacy.study.data.code_systems import CodeSystem

VOCABULARIES: Final[dict[str, CodeSystem]] = {
    "ICD9CM": "icd9cm", "ICD10CM": "icd10cm", "ICD10": "icd10", "ICD10GM": "icd10", "ATC": "atc", "NDC": "ndc",
    "LOINC": "loinc", "SNOMED": "snomed", "RxNorm": "rxnorm", "CVX": "cvx",
}  # fmt: skip
_SEX: Final = {"8507": "male", "8532": "female", "8521": "other"}  # standard concepts of gender

# An @ stands for the schema of the tables.
_PERSONS: Final = """
SELECT CAST(p.person_id AS BIGINT) AS patient,
    COALESCE(
        CAST(p.birth_datetime AS VARCHAR(30)),
        CAST(CAST(p.year_of_birth AS INTEGER) AS VARCHAR(4))
        || CASE WHEN p.month_of_birth IS NULL THEN '' ELSE
            CASE WHEN p.month_of_birth < 10 THEN '-0' ELSE '-' END
            || CAST(CAST(p.month_of_birth AS INTEGER) AS VARCHAR(2))
            || CASE WHEN p.day_of_birth IS NULL THEN '' ELSE
                CASE WHEN p.day_of_birth < 10 THEN '-0' ELSE '-' END
                || CAST(CAST(p.day_of_birth AS INTEGER) AS VARCHAR(2)) END END
    ) AS birth,
    d.day AS death, f.day AS followed, CAST(p.gender_concept_id AS BIGINT) AS sex,
    p.race_source_value AS race, p.ethnicity_source_value AS ethnicity
FROM @person p
LEFT JOIN (
    SELECT person_id, MIN(COALESCE(death_datetime, death_date)) AS day FROM @death GROUP BY person_id
) d ON d.person_id = p.person_id
LEFT JOIN (
    SELECT person_id, MAX(observation_period_end_date) AS day FROM @observation_period GROUP BY person_id
) f ON f.person_id = p.person_id
""".strip()
_VISITS: Final = """
SELECT CAST(person_id AS BIGINT) AS patient, CAST(visit_occurrence_id AS BIGINT) AS visit,
    COALESCE(visit_start_datetime, visit_start_date) AS begins, COALESCE(visit_end_datetime, visit_end_date) AS ends
FROM @visit_occurrence
""".strip()
_EVENTS: Final = """
SELECT CAST(e.person_id AS BIGINT) AS patient, CAST(e.visit_occurrence_id AS BIGINT) AS visit,
    COALESCE(e.STEM_datetime, e.STEM_date) AS time, MORE
    COALESCE(c.vocabulary_id, '') AS system, COALESCE(c.concept_code, '') AS code
FROM @TABLE e LEFT JOIN @concept c ON c.concept_id = e.CONCEPT AND c.concept_id <> 0
""".strip()
_VALUES: Final = "VALUE AS value, COALESCE(u.concept_code, e.unit_source_value, '') AS unit,"
_MEASURED: Final = (  # the operators <=, >=, < and > make a limit of a value
    "CASE WHEN e.operator_concept_id IN (4171754, 4171755, 4171756, 4172704) THEN NULL ELSE e.value_as_number END"
)
_UNITS: Final = " LEFT JOIN @concept u ON u.concept_id = e.unit_concept_id AND u.concept_id <> 0"


class _Table(NamedTuple):
    """A table of events: how its columns of times begin, and which have the concepts."""

    stem: str
    standard: str
    source: str
    has_values: bool = False


_TABLES: Final = {
    "condition_occurrence": _Table("condition_start", "condition_concept_id", "condition_source_concept_id"),
    "drug_exposure": _Table("drug_exposure_start", "drug_concept_id", "drug_source_concept_id"),
    "procedure_occurrence": _Table("procedure", "procedure_concept_id", "procedure_source_concept_id"),
    "device_exposure": _Table("device_exposure_start", "device_concept_id", "device_source_concept_id"),
    "measurement": _Table("measurement", "measurement_concept_id", "measurement_source_concept_id", True),
    "observation": _Table("observation", "observation_concept_id", "observation_source_concept_id", True),
    "note": _Table("note", "note_class_concept_id", "note_class_concept_id"),
}


class _Query(SqlSource):
    """A query that messages call by the table that it reads."""

    called: str

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.called


def make_tables(omop: Omop) -> Tables:
    """Return the queries for the tables that ``omop`` names, as tables of the mapping."""
    persons = PersonTable(
        source=_make_source(omop, "person", _PERSONS),
        patient="patient",
        birth="birth",
        death="death",
        followed="followed",
        facts={
            "sex": FactColumn(column="sex", words=_SEX),
            "race": FactColumn(column="race"),
            "ethnicity": FactColumn(column="ethnicity"),
        },
    )
    visits = _make_source(omop, "visit_occurrence", _VISITS)
    return Tables(
        kind="tables",
        persons=(persons,),
        visits=(VisitTable(source=visits, patient="patient", visit="visit", start="begins", end="ends"),),
        events=tuple(_make_events(omop, table) for table in omop.tables),
    )


def _make_events(omop: Omop, name: str) -> EventTable:
    table = _TABLES[name]
    more: dict[str, Any] = {}
    if table.has_values:
        more = {"value": "value", "unit": "unit", "units": omop.units}
    elif name == "note":
        more = {"text": "text"}
    query = _EVENTS + (_UNITS if table.has_values else "")
    for mark, word in (
        ("MORE", _VALUES if table.has_values else "e.note_text AS text," if name == "note" else ""),
        ("VALUE", _MEASURED if name == "measurement" else "e.value_as_number"),
        ("STEM", table.stem),
        ("TABLE", name),
        ("CONCEPT", table.source if omop.codes == "source" else table.standard),
    ):
        query = query.replace(mark, word)
    systems = {**VOCABULARIES, **omop.vocabularies}
    return EventTable(
        source=_make_source(omop, name, query),
        patient="patient",
        visit="visit",
        time="time",
        codes=(CodeColumn(column="code", system_column="system", systems=systems, unlisted="counted"),),
        **more,
    )


def _make_source(omop: Omop, table: str, query: str) -> _Query:
    return _Query(
        kind="sql",
        called=table,
        url=omop.url,
        password_env=omop.password_env,
        password_file=omop.password_file,
        query=query.replace("@", "" if omop.cdm_schema is None else f"{omop.cdm_schema}."),
    )
