"""Hospitals' own tables, OMOP and FHIR become by their mappings what the scripts that know the sources make."""

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
from tests.client.data.conversion.converting import SHARED
from tests.examples.icu_records import make_record as make_icu_record
from tests.examples.pbc2_records import make_records as make_pbc2_records

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")


def load_script(repository: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, repository / "examples" / "records" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(repository / "examples" / "records"))  # scripts import their neighbours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
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


def test_hourly_grids_of_three_forms_are_those_of_a_loop(repository: Path, tmp_path: Path) -> None:
    """Make the grids of PhysioNet 2012 from CSV, a database, and dates with decimal commas.

    Where the file has two values of a variable in one minute, the loop takes that of the last line and the converter
    the largest, since the order of lines must not matter: only those cells differ.
    """
    script = load_script(repository, "prepare_physionet2012")
    stays = [stay for _, stay in zip(range(60), script.read_stays(SHARED / "icu2012"), strict=False)]
    script.write_hospitals(stays, tmp_path)
    contract = read_terms(repository / "examples" / "records" / "gru_d.yaml").data
    assert isinstance(contract, EventsContract)
    found = dict[str, dict[str, Any]]()
    for hospital in ("north", "south", "west"):
        snapshot = make_snapshot(contract, tmp_path / hospital / "mapping.yaml", tmp_path / hospital / "data", 0.0)
        assert (snapshot.report.training, snapshot.report.test) == (15, 5)
        found |= list_records(snapshot)
    assert len(found) == len(stays)
    differing = 0
    for stay in stays:
        expected, tensors = make_icu_record(contract, stay.measurements), found[f"stay-{stay.number}"]
        for name in ("observed", "present"):
            np.testing.assert_array_equal(tensors[name], expected[name], err_msg=name)
        assert tensors["label"] == stay.died
        np.testing.assert_allclose(tensors["gaps"], expected["gaps"], atol=1e-6)
        differing += int((np.abs(tensors["values"] - expected["values"]) > 1e-6).sum())
    seen = [(stay.number, minute, name) for stay in stays for minute, name, _ in stay.measurements]
    assert differing <= len(seen) - len(set(seen))


def test_text_files_of_stays_say_what_the_arrays_say(repository: Path, tmp_path: Path) -> None:
    """The form that PhysioNet publishes, written here from the arrays."""
    script = load_script(repository, "prepare_physionet2012")
    stays = [stay for _, stay in zip(range(3), script.read_stays(SHARED / "icu2012"), strict=False)]
    (tmp_path / "set-a").mkdir()
    for stay in stays:
        times = [(f"{minute // 60:02}:{minute % 60:02}", *rest) for minute, *rest in stay.measurements]
        facts = [("00:00", name, value) for name, value in stay.facts.items()]
        facts += [("00:00", "RecordID", stay.number), ("00:00", "Weight", -1)]
        header = ("Time", "Parameter", "Value")
        script.write_table(tmp_path / "set-a" / f"{stay.number}.txt", ",", header, [*facts, *times])
    outcomes = [(stay.number, stay.minutes // 1440, int(stay.died)) for stay in stays]
    header = ("RecordID", "Length_of_stay", "In-hospital_death")
    script.write_table(tmp_path / "Outcomes-a.txt", ",", header, outcomes)
    assert list(script.read_stays(tmp_path)) == stays


def test_visits_of_a_trial_in_three_forms_are_those_of_a_loop(repository: Path, tmp_path: Path) -> None:
    """All 312 patients of PBC2: every record, its inputs, and the time to death or transplantation."""
    script = load_script(repository, "../longitudinal/prepare_pbc2")
    patients = script.read_patients(SHARED / "survival" / "pbc2.csv")
    script.write_hospitals(patients, tmp_path)
    contract = read_terms(repository / "examples" / "longitudinal" / "dynamic_deephit.yaml").data
    assert isinstance(contract, EventsContract)
    found = defaultdict[str, list[dict[str, Any]]](list)
    for hospital in ("north", "south", "west"):
        snapshot = make_snapshot(contract, tmp_path / hospital / "mapping.yaml", tmp_path / hospital / "data", 0.0)
        for path in (snapshot.train, snapshot.test):
            with np.load(path) as arrays:
                tensors = dict(arrays)
            for row, patient in enumerate(tensors.pop("patient")):
                found[patient.decode()].append({name: values[row] for name, values in tensors.items()})
    assert len(found) == len(patients) == 312
    for rows in patients:
        for tensors, expected in zip(found[rows[0]["id"]], make_pbc2_records(contract, rows), strict=True):
            for name in ("observed", "present", "event"):
                np.testing.assert_array_equal(tensors[name], expected[name], err_msg=name)
            for name in ("values", "gaps", "time"):
                np.testing.assert_allclose(tensors[name], expected[name], atol=1e-6, err_msg=name)
    first = [records[0]["event"].item() for records in found.values()]
    assert np.bincount(first).tolist() == [143 + sum(map(dies_late, patients)), *count_early(patients)]


def dies_late(rows: list[dict[str, str]]) -> bool:
    """Whether something happened to a patient, but more than ten years after the first visit."""
    return rows[0]["status"] != "alive" and float(rows[0]["years"]) > 10


def count_early(patients: list[list[dict[str, str]]]) -> list[int]:
    """How many died, and had a transplantation, within ten years."""
    early = [rows[0]["status"] for rows in patients if not dies_late(rows)]
    return [early.count("dead"), early.count("transplanted")]


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
