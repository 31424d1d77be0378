"""A database of OMOP becomes records, the same ones whichever database it is."""

import gzip
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data.conversion.events.mapping import Omop
from client.data.conversion.events.omop import make_tables
from client.data.conversion.report import ConversionError
from privacy.study import EventsContract
from tests.client.data.conversion.converting import SHARED, Converted, convert, list_reasons
from tests.client.data.conversion.events.omop_database import SCRIPT
from tests.client.data.conversion.events.people import GLUCOSE, make
from tests.postgresql import PASSWORD, PostgreSql, start_postgresql

SQLITE = {"kind": "omop", "url": "sqlite:///omop.sqlite"}
SEX = {"kind": "fact", "name": "sex", "values": ["female", "male"]}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSql]:
    with start_postgresql() as started:
        started.run("CREATE SCHEMA cdm; SET search_path TO cdm;\n" + SCRIPT)
        yield started


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "omop.sqlite") as connection:
        connection.executescript(SCRIPT)
    return tmp_path


def make_contract(**keys: Any) -> EventsContract:
    codes = [{"system": "icd10cm", "words": ["E11"]}, {"system": "rxnorm", "words": ["860975"]}]
    variables = [GLUCOSE | {"molar_mass": 180.156}]
    return make(codes=codes, variables=variables, static=[{"kind": "age", "low": 0, "high": 100}, SEX], **keys)


def by_patient(converted: Converted, name: str) -> dict[str, Any]:
    return dict(zip(converted.patients, converted.arrays[name].tolist(), strict=True))


def test_database_becomes_codes_values_and_facts(database: Path) -> None:
    found = convert(make_contract(), {"origin": SQLITE}, database)
    assert sorted(found.patients) == ["1", "2", "3", "4"]
    visits = by_patient(found, "visits")
    assert visits["1"][0] == [True, True]  # the drug has no visit, and was taken during this one
    assert [visits[each][0] for each in "234"] == [[True, False], [False, False], [False, False]]
    values = by_patient(found, "values")
    assert values["1"][0] == pytest.approx([2 * (180.5 - 40) / 560 - 1])
    assert values["2"][0] == pytest.approx([2 * (180.156 - 40) / 560 - 1], abs=1e-6)
    static = by_patient(found, "static")
    assert static["1"] == pytest.approx([2 * 59.67 / 100 - 1, 0, 1, 0, 0], abs=1e-3)
    assert static["2"] == pytest.approx([2 * 49.59 / 100 - 1, 0, 0, 1, 0], abs=1e-3)  # born 1 July
    assert static["3"][2:] == [0, 0, 1]
    assert "'glucose': 2 measurements have no value" in found.report.notes
    assert by_patient(found, "observed")["4"][0] == [False]  # < 40 is no value
    assert any(note.startswith("Read: 1 codes of 1 events become nothing") for note in found.report.notes)
    assert set(found.report.sources) >= {"person", "visit_occurrence", "measurement"}


def test_standard_concepts_are_used_if_the_mapping_says_so(database: Path) -> None:
    contract = make(codes=[{"system": "snomed", "words": ["44054006"]}])
    for codes, expected in (("standard", 2), ("source", 0)):
        found = convert(contract, {"origin": SQLITE | {"codes": codes}}, database)
        assert found.arrays["visits"].sum() == expected


def test_follow_up_is_that_of_observation_periods_and_deaths(database: Path) -> None:
    label = {"kind": "survival", "causes": [[{"kind": "death"}]], "longest": 1000}
    found = convert(make_contract(label=label), {"origin": SQLITE}, database)
    events, times = by_patient(found, "event"), by_patient(found, "time")
    assert (events["3"], round(times["3"])) == (1, 61)  # from 1 March to the end of 1 May
    assert (events["4"], round(times["4"])) == (0, 639)  # the later of two periods: to the end of 2021


def test_notes_are_searched(database: Path) -> None:
    words = [{"kind": "words", "phrases": ["type 2 diabetes"]}]
    label = {"kind": "happens", "of": words, "window": {"when": "this-visit"}}
    found = convert(make_contract(label=label), {"origin": SQLITE | {"tables": ["note"]}}, database)
    assert by_patient(found, "label") == {"1": 0, "2": 0, "3": 0, "4": 1}


def test_postgresql_gives_the_records_of_sqlite(
    server: PostgreSql, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMOP_PASSWORD", PASSWORD)
    tables = ["condition_occurrence", "drug_exposure", "procedure_occurrence", "measurement", "note"]
    remote = {
        "kind": "omop",
        "url": server.url,
        "password_env": "OMOP_PASSWORD",
        "cdm_schema": "cdm",
        "tables": tables,
    }
    label = {"kind": "survival", "causes": [[{"kind": "death"}]], "longest": 1000}
    contract = make_contract(label=label)
    here = convert(contract, {"origin": SQLITE | {"tables": tables}}, database)
    there = convert(contract, {"origin": remote}, database)
    assert there.patients == here.patients
    for name, values in here.arrays.items():
        np.testing.assert_array_equal(there.arrays[name], values, err_msg=name)


def test_table_that_is_absent_is_named(database: Path) -> None:
    with pytest.raises(ConversionError, match=r"device_exposure: the database refuses it") as caught:
        convert(make_contract(), {"origin": SQLITE | {"tables": ["device_exposure", "measurement"]}}, database)
    assert "SELECT" not in str(caught.value)


def test_query_names_tables_of_the_schema_only() -> None:
    tables = make_tables(Omop(kind="omop", url="sqlite:///x", cdm_schema="cdm", tables=("note",)))
    parts = (tables.persons, tables.visits, tables.events)
    for query in (each["source"]["query"] for part in parts for each in (table.model_dump() for table in part)):
        assert "@" not in query
        assert query.count(" cdm.") == query.count("FROM") + query.count("JOIN") - query.count("JOIN (")


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_real_database_gives_every_visit_with_its_codes(tmp_path: Path) -> None:
    """The oracle asks the database itself."""
    (tmp_path / "omop.sqlite").write_bytes(gzip.decompress((SHARED / "omop" / "synthea27.sqlite.gz").read_bytes()))
    with sqlite3.connect(tmp_path / "omop.sqlite") as database:
        words = [
            row[0] for row in database.execute("SELECT concept_code FROM concept WHERE vocabulary_id = 'SNOMED'")
        ]
        pairs = database.execute(
            "SELECT COUNT(*) FROM (SELECT DISTINCT e.visit_occurrence_id, c.concept_code FROM"
            " (SELECT visit_occurrence_id, condition_source_concept_id AS k FROM condition_occurrence"
            "  UNION ALL SELECT visit_occurrence_id, procedure_source_concept_id FROM procedure_occurrence"
            "  UNION ALL SELECT visit_occurrence_id, measurement_source_concept_id FROM measurement) e"
            " JOIN concept c ON c.concept_id = e.k WHERE c.vocabulary_id = 'SNOMED' AND e.visit_occurrence_id > 0)"
        ).fetchone()[0]
        visits = database.execute("SELECT COUNT(*) FROM visit_occurrence").fetchone()[0]
        patients = database.execute("SELECT COUNT(DISTINCT person_id) FROM visit_occurrence").fetchone()[0]
        weights = database.execute(
            "SELECT COUNT(*) FROM (SELECT DISTINCT visit_occurrence_id FROM measurement"
            " WHERE measurement_source_value = '29463-7' AND value_as_number IS NOT NULL)"
        ).fetchone()[0]
    weight = {
        "name": "weight",
        "codes": [{"system": "loinc", "code": "29463-7"}],
        "unit": "kg",
        "low": 2,
        "high": 300,
    }
    contract = make(
        codes=[{"system": "snomed", "words": sorted(set(words))}],
        variables=[weight],
        steps={"kind": "visits", "length": 2000},
    )
    origin = SQLITE | {"tables": ["condition_occurrence", "procedure_occurrence", "measurement"]}
    found = convert(contract, {"origin": origin}, tmp_path)
    assert list_reasons(found.report) == {}
    assert len(found.patients) == patients
    assert found.arrays["present"].sum() == visits
    in_no_visit = sum(
        int(note.split()[0]) for note in found.report.notes if note.endswith("events are in no visit")
    )
    assert found.arrays["visits"].sum() >= pairs - in_no_visit
    assert found.arrays["visits"].sum() == pytest.approx(
        pairs, abs=10
    )  # events of no visit are in the one around them
    assert found.arrays["observed"].sum() == weights
