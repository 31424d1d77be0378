"""Hospitals' own tables, OMOP and FHIR become by their mappings what the scripts that know the sources make."""

import csv
import importlib.util
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from client.data.conversion.kept_snapshots import Snapshot, make_snapshot
from client.data.site_data import read_data
from privacy.study import EventsContract, read_terms
from tests.client.data.conversion.converting import SHARED, Converted, convert, make_contract

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")


def load_script(repository: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, repository / "examples" / "records" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(repository: Path, script: str, *arguments: Path) -> None:
    subprocess.run(
        [sys.executable, repository / "examples" / "records" / script, *arguments], check=True, capture_output=True
    )


def list_records(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    """The tensors of each patient."""
    found = {}
    for path in (snapshot.train, snapshot.test):
        with np.load(path) as arrays:
            tensors = dict(arrays)
        for row, patient in enumerate(tensors.pop("patient")):
            found[patient.decode()] = {name: values[row] for name, values in tensors.items()}
    return found


def test_three_forms_of_visits_give_the_tensors_of_the_script(repository: Path, tmp_path: Path) -> None:
    """Every patient of diabetes130 who has two visits, from a long table, a wide one and a database."""
    run(repository, "prepare_diabetes130_hospitals.py", SHARED / "diabetes130", tmp_path)
    contract = read_terms(repository / "examples" / "records" / "next_diagnoses.yaml").data
    script = load_script(repository, "prepare_diabetes130_visits")
    visits = defaultdict[str, list[dict[str, str]]](list)
    for row in script.read_encounters(SHARED / "diabetes130"):
        visits[row["patient"]].append(row)
    compared = 0
    for hospital in ("north", "south", "west"):
        snapshot = make_snapshot(contract, tmp_path / hospital / "mapping.yaml", tmp_path / hospital / "data", 0.0)
        for patient, tensors in list_records(snapshot).items():
            rows = sorted(visits[patient.removeprefix("patient-")], key=lambda row: int(row["visit"]))
            expected = script.make_record("", rows, False)
            np.testing.assert_array_equal(tensors["visits"], expected["visits"], err_msg=patient)
            np.testing.assert_array_equal(tensors["present"], expected["present"], err_msg=patient)
            compared += 1
    assert compared == sum(len(rows) > 1 for rows in visits.values()) == 11_741


def write_stays(folder: Path, stays: list[Any]) -> None:
    """Write stays in intensive care as two tables: their ends, with the deaths, and all measurements."""
    with (folder / "stays.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("stay", "begin", "end", "how"))
        # nobody dies within the first 48 hours of the inputs: the file does not say when
        writer.writerows((f"stay-{stay.number}", 0, 3000, "died" if stay.died else "left") for stay in stays)
    with (folder / "measurements.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("stay", "minute", "name", "value"))
        for stay in stays:
            writer.writerows((f"stay-{stay.number}", *row[:2], repr(row[2])) for row in stay.measurements)


def convert_stays(script: ModuleType, folder: Path) -> Converted:
    variables = [
        {
            "name": name,
            "codes": [{"system": "other", "code": name}],
            "low": low,
            "high": high,
            "logarithm": logarithm,
        }
        for name, (low, high, logarithm) in script.RANGES.items()
    ]
    contract = make_contract(
        kind="events",
        steps={"kind": "grid", "length": 48, "unit": "hours"},
        index={"at": "visit-start", "hours": 48},
        variables=variables,
        label={"kind": "happens", "of": [{"kind": "code", "system": "other", "codes": ["died"]}],
               "window": {"when": "this-visit"}},
    )  # fmt: skip
    assert isinstance(contract, EventsContract)
    shared = {"patient": "stay", "visit": "stay", "format": "minutes"}
    stays = {"source": {"kind": "csv", "path": "stays.csv"}, **shared}
    measurements = {"kind": "csv", "path": "measurements.csv", "decimal": "."}
    origin = {
        "kind": "tables",
        "visits": [stays | {"start": "begin", "end": "end"}],
        "events": [
            {"source": measurements, **shared, "time": "minute", "value": "value",
             "codes": [{"column": "name", "system": "other"}]},
            stays | {"time": "end", "codes": [{"column": "how", "system": "other"}]},
        ],
    }  # fmt: skip
    return convert(contract, {"origin": origin}, folder, 0.0)


def test_hourly_grid_is_that_of_the_script(repository: Path, tmp_path: Path) -> None:
    """Make the grid of PhysioNet 2012.

    Where the file has two values of a variable in one minute, the script takes that of the last line and the converter
    the largest, since the order of lines must not matter: only those cells differ.
    """
    script = load_script(repository, "prepare_physionet2012")
    stays = [stay for _, stay in zip(range(60), script.read_stays(SHARED / "icu2012"), strict=False)]
    write_stays(tmp_path, stays)
    found = convert_stays(script, tmp_path)
    rows = {patient: row for row, patient in enumerate(found.patients)}
    assert len(rows) == len(stays)
    differing = 0
    for stay in stays:
        expected, row = script.make_record(stay), rows[f"stay-{stay.number}"]
        for name in ("observed", "present", "label"):
            np.testing.assert_array_equal(found.arrays[name][row], expected[name], err_msg=name)
        np.testing.assert_allclose(found.arrays["gaps"][row], expected["gaps"], atol=1e-6)
        differing += int((np.abs(found.arrays["values"][row] - expected["values"]) > 1e-6).sum())
    seen = [(stay.number, minute, name) for stay in stays for minute, name, _ in stay.measurements]
    assert differing <= len(seen) - len(set(seen))


def test_omop_and_fhir_keep_one_contract(repository: Path, tmp_path: Path) -> None:
    omop, fhir = SHARED / "omop" / "synthea27.sqlite.gz", SHARED / "fhir"
    run(repository, "prepare_synthea_hospitals.py", omop, fhir, tmp_path)
    contract = read_terms(repository / "examples" / "records" / "omop_and_fhir.yaml").data
    patients = set[str]()
    for hospital in ("omop-east", "omop-west", "fhir"):
        snapshot = make_snapshot(contract, tmp_path / hospital / "mapping.yaml", tmp_path / hospital / "data", 0.0)
        for path in (snapshot.train, snapshot.test):
            table = read_data(contract, path)
            assert table.ids
            assert not patients & set(table.ids)
            patients |= set(table.ids)
        with np.load(snapshot.train) as arrays:
            assert 0.05 < arrays["features"].mean() < 0.5
            assert 0.05 < arrays["labels"].mean() < 0.5
    assert len(patients) == 28 + 13
