"""Sites with tables, with OMOP and with FHIR learn one model, and the same patients are the same records at each.

Every patient is invented: three visits with diagnoses and a weight, and perhaps diabetes at the third.
"""

import datetime
import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
import yaml

from client.data.conversion.kept_snapshots import Snapshot, make_snapshot
from privacy.study import Terms, parse_terms
from tests.client.data.conversion.events.omop_database import SCHEMA
from tests.client.data.conversion.events.people import write_table
from tests.simulator import Simulator

SITES: Final = ("ash", "birch", "cedar")
COUNT: Final = 80  # people of a site
WEIGHT: Final = {
    "name": "weight",
    "codes": [{"system": "loinc", "code": "29463-7"}],
    "unit": "kg",
    "low": 20,
    "high": 180,
}
MODELS: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "retain": (
        {"steps": {"kind": "visits", "length": 3}},
        {"embedding": 4, "visit_units": 4, "code_units": 4, "embedding_dropout": 0.0, "context_dropout": 0.0},
    ),
    "gru-d": (
        {"steps": {"kind": "grid", "length": 4, "unit": "days", "each": 30}, "codes": [], "variables": [WEIGHT]},
        {"width": 4, "dropout": 0.0},
    ),
    "logistic": ({"steps": {"kind": "bag"}, "variables": [WEIGHT], "static": [{"kind": "age"}]}, {}),
}


class Visit(NamedTuple):
    """A visit of a patient: when, with which diagnoses, and the weight in kg."""

    time: datetime.datetime
    codes: tuple[str, ...]
    weight: float


class Patient(NamedTuple):
    """A patient, named by a number as OMOP does."""

    number: int
    born: datetime.date
    visits: tuple[Visit, ...]


Write = Callable[[Path, Sequence[Patient]], dict[str, Any]]
"""(folder, patients) -> the site's mapping; its files are in the folder."""


def invent(number: int, random: np.random.Generator) -> Patient:
    begin = datetime.datetime(2020, 1, 1, 9) + datetime.timedelta(days=int(random.integers(300)))
    heavy = random.random() < 0.5
    visits = tuple(
        Visit(
            begin + datetime.timedelta(days=30 * place, minutes=int(random.integers(60))),
            ("E11.9",) if place == 2 and heavy else ("I10",) if heavy else ("J45.0",),
            float(np.round(random.normal(110 if heavy else 70, 8), 2)),
        )
        for place in range(3)
    )
    return Patient(number, datetime.date(1940 + int(random.integers(50)), 5, 2), visits)


def write_tables(folder: Path, patients: Sequence[Patient]) -> dict[str, Any]:
    """Write a wide table of visits, and weights in pounds with decimal commas."""
    codes, weights = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
    for each in patients:
        for place, visit in enumerate(each.visits):
            begin = (each.number, f"{each.number}/{place}", f"{visit.time:%d.%m.%Y %H:%M}")
            codes += [(*begin, code) for code in visit.codes]
            weights.append((*begin, f"{visit.weight / 0.45359237:.4f}".replace(".", ","), "kilo"))
    write_table(folder / "visits.csv", "pid case day icd", codes)
    write_table(folder / "weights.csv", "pid case day pounds what", weights)
    write_table(folder / "people.csv", "pid born", [(each.number, each.born) for each in patients])
    shared = {"patient": "pid", "visit": "case", "format": "DD.MM.YYYY hh:mm"}
    source = {"kind": "csv", "path": "visits.csv"}
    weighed = {"kind": "csv", "path": "weights.csv", "decimal": ","}
    return {"origin": {
        "kind": "tables",
        "persons": [{"source": {"kind": "csv", "path": "people.csv"}, "patient": "pid", "birth": "born"}],
        "visits": [{"source": source, **shared, "start": "day"}],
        "events": [
            {"source": source, **shared, "time": "day", "codes": [{"column": "icd", "system": "icd10cm"}]},
            {"source": weighed, **shared, "time": "day", "value": "pounds", "units": {"": "[lb_av]"},
             "codes": [{"column": "what", "system": "other"}],
             "translate": {"kilo": {"system": "loinc", "code": "29463-7"}}},
        ],
    }}  # fmt: skip


def write_omop(folder: Path, patients: Sequence[Patient]) -> dict[str, Any]:
    with sqlite3.connect(folder / "omop.sqlite") as database:
        database.executescript(SCHEMA)
        codes = {"E11.9": 1, "I10": 2, "J45.0": 3}
        database.executemany(
            "INSERT INTO concept VALUES (?, 'ICD10CM', ?)", [(n, code) for code, n in codes.items()]
        )
        database.execute("INSERT INTO concept VALUES (9, 'LOINC', '29463-7'), (8, 'UCUM', 'g')")
        for each in patients:
            born = (each.born.year, each.born.month, each.born.day)
            database.execute("INSERT INTO person VALUES (?, 0, ?, ?, ?, NULL, NULL, NULL)", (each.number, *born))
            for place, visit in enumerate(each.visits):
                name, day = 10 * each.number + place, f"{visit.time:%Y-%m-%d}"
                time = f"{visit.time:%Y-%m-%d %H:%M:%S}"
                visited = (name, each.number, day, time)
                database.execute("INSERT INTO visit_occurrence VALUES (?, ?, ?, ?, NULL, NULL)", visited)
                database.executemany(
                    "INSERT INTO condition_occurrence VALUES (?, ?, 0, ?, ?, ?)",
                    [(each.number, name, codes[code], day, time) for code in visit.codes],
                )
                database.execute(
                    "INSERT INTO measurement VALUES (?, ?, 0, 9, ?, ?, NULL, ?, 8, NULL)",
                    (each.number, name, day, time, 1000 * visit.weight),
                )
    return {"origin": {"kind": "omop", "url": "sqlite:///omop.sqlite"}}


def write_fhir(folder: Path, patients: Sequence[Patient]) -> dict[str, Any]:
    lines = list[dict[str, Any]]()
    for each in patients:
        about = {"subject": {"reference": f"Patient/{each.number}"}}
        lines.append({"resourceType": "Patient", "id": str(each.number), "birthDate": str(each.born)})
        for place, visit in enumerate(each.visits):
            time = visit.time.isoformat() + "Z"
            seen = about | {"encounter": {"reference": f"Encounter/{each.number}-{place}"}}
            begin = {"resourceType": "Encounter", "id": f"{each.number}-{place}", "status": "finished"}
            lines.append(begin | about | {"period": {"start": time}})
            for code in visit.codes:
                coding = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]}
                lines.append({"resourceType": "Condition", "id": "c", "onsetDateTime": time, "code": coding} | seen)
            coding = {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]}
            quantity = {"value": visit.weight, "code": "kg", "unit": "Kilogramm"}
            observation = {"resourceType": "Observation", "id": "o", "status": "final", "effectiveDateTime": time}
            lines.append(observation | {"code": coding, "valueQuantity": quantity} | seen)
    (folder / "export").mkdir()
    (folder / "export" / "all.ndjson").write_text("\n".join(map(json.dumps, lines)))
    return {"zone": "UTC", "origin": {"kind": "fhir", "folder": "export"}}


FORMS: Final[tuple[Write, ...]] = (write_tables, write_omop, write_fhir)


def make_terms(model: str) -> Terms:
    data, options = MODELS[model]
    return parse_terms(
        {
            "consilium": 1,
            "name": "three-standards",
            "purpose": "a test",
            "model": {"name": model, "options": options},
            "data": {
                "kind": "events",
                "name": "people",
                "ranges_from": "invented",
                "codes": [{"system": "icd10cm", "words": ["E11", "I10", "J45"]}],
                "index": {"at": "visit-end", "visits": [2]},
                "label": {
                    "kind": "happens",
                    "of": [{"kind": "code", "system": "icd10cm", "codes": ["E11"]}],
                    "window": {"when": "next-visit"},
                },
            }
            | data,
            "task": {"kind": "binary", "target": "label"},
            "training": {"rounds": 2, "local_steps": 1, "sampling_rate": 0.5, "learning_rate": 0.1},
            "privacy": {"epsilon": 4, "delta": 1e-3, "clipping_norm": 1.0},
            "cohort": {"minimum": 3, "maximum": 8},
            "evaluation": {"rounds": [2], "bins": 10, "epsilon": "none"},
        }
    )


def convert(terms: Terms, folder: Path, write: Write, patients: Sequence[Patient]) -> Snapshot:
    folder.mkdir(parents=True)
    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump({"mapping": 1, "contract": terms.data.name} | write(folder, patients)))
    snapshot = make_snapshot(terms.data, path, folder / "data", 0.0)
    assert snapshot.report.training + snapshot.report.test == len(patients)
    return snapshot


@pytest.mark.parametrize("model", MODELS)
def test_same_patients_are_the_same_records_whatever_holds_them(tmp_path: Path, model: str) -> None:
    terms, random = make_terms(model), np.random.default_rng(0)
    patients = [invent(number, random) for number in range(1, 21)]
    made = [convert(terms, tmp_path / str(place), write, patients) for place, write in enumerate(FORMS)]
    for name in ("train.npz", "test.npz"):
        first, *others = (dict(np.load(each.folder / name)) for each in made)
        assert len(first["label"])
        for other in others:
            for tensor, values in first.items():
                if values.dtype.kind == "f":
                    np.testing.assert_allclose(other[tensor], values, atol=1e-5, err_msg=tensor)
                else:
                    np.testing.assert_array_equal(other[tensor], values, err_msg=tensor)


@pytest.mark.parametrize("model", MODELS)
def test_sites_with_tables_omop_and_fhir_reach_one_model(tmp_path: Path, model: str) -> None:
    terms = make_terms(model)

    def write_files(home: Path, name: str, number: int) -> tuple[Path, Path]:
        random = np.random.default_rng(number)
        patients = [invent(1000 * (number + 1) + place, random) for place in range(COUNT)]
        snapshot = convert(terms, home.parent / f"{name}-own", FORMS[number], patients)
        return snapshot.train, snapshot.test

    simulator = Simulator(tmp_path / "wood", terms, SITES, write_files)
    try:
        simulator.launch()
        simulator.run()
        assert all(simulator.trained[name, number] == 1 for name in SITES for number in (1, 2))
        assert len({simulator.released_model(name) for name in SITES}) == 1
    finally:
        simulator.close()
