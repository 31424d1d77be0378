"""Small hospitals of a few invented patients, as tables of events."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from privacy.study import EventsContract
from tests.client.data.conversion.converting import Converted, convert, make_contract

Rows = Sequence[Sequence[Any]]

GLUCOSE = {
    "name": "glucose",
    "codes": [{"system": "loinc", "code": "2345-7"}],
    "unit": "mg/dL",
    "low": 40,
    "high": 600,
}
VISITS = {"kind": "visits", "length": 3}


def make(**keys: Any) -> EventsContract:
    """A contract of events: by default two columns of ICD-10, one record at the end of the last visit."""
    defaults: dict[str, Any] = {"steps": VISITS, "codes": [{"system": "icd10cm", "words": ["E11", "I10"]}]}
    contract = make_contract(kind="events", **(defaults | keys))
    assert isinstance(contract, EventsContract)
    return contract


def write_table(path: Path, header: str, rows: Rows) -> None:
    """Write rows as CSV; the header is words with spaces between them."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header.split())
        writer.writerows(rows)


def convert_rows(
    contract: EventsContract,
    folder: Path,
    rows: Rows,
    *,
    persons: Rows = (),
    visits: Rows = (),
    most: float = 0.0,
    changes: dict[str, Any] | None = None,
    **mapping: Any,
) -> Converted:
    """Convert rows of events, and perhaps of persons and of visits, written as CSV.

    Args:
        contract: what they become.
        folder: for the files.
        rows: patient, time, visit, system, code, value, unit, note.
        persons: patient, born, died, seen, sex.
        visits: patient, visit, start, end.
        most: the largest share that may be left out.
        changes: to the mapping of the table of events.
        mapping: more keys of the mapping.
    """
    write_table(folder / "events.csv", "patient time visit system code value unit note", rows)
    table: dict[str, Any] = {
        "source": {"kind": "csv", "path": "events.csv"},
        "patient": "patient",
        "time": "time",
        "visit": "visit",
        "codes": [{
            "column": "code", "system_column": "system",
            "systems": {each: each for each in ("icd9cm", "icd10cm", "atc", "loinc", "other")},
        }],
        "value": "value",
        "unit": "unit",
        "text": "note",
    }  # fmt: skip
    origin: dict[str, Any] = {"kind": "tables", "events": [table | (changes or {})]}
    if persons:
        write_table(folder / "persons.csv", "patient born died seen sex", persons)
        origin["persons"] = [{
            "source": {"kind": "csv", "path": "persons.csv"}, "patient": "patient", "birth": "born", "death": "died",
            "followed": "seen", "facts": {"sex": {"column": "sex", "words": {"F": "female", "M": "male"}}},
        }]  # fmt: skip
    if visits:
        write_table(folder / "visits.csv", "patient visit start end", visits)
        source = {"kind": "csv", "path": "visits.csv"}
        origin["visits"] = [
            {"source": source, "patient": "patient", "visit": "visit", "start": "start", "end": "end"}
        ]
    return convert(contract, {"origin": origin} | mapping, folder, most)


def icd(patient: str, time: str, visit: str, code: str) -> list[str]:
    """A diagnosis in ICD-10."""
    return [patient, time, visit, "icd10cm", code, "", "", ""]


def lab(patient: str, time: str, visit: str, value: Any, unit: str = "mg/dL", code: str = "2345-7") -> list[Any]:
    """A measurement, of glucose unless ``code`` says otherwise."""
    return [patient, time, visit, "loinc", code, value, unit, ""]
