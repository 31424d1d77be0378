"""The script that makes files of trials with repeated measurements: what it writes is in the tables."""

import csv
import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data.site_data import read_data
from privacy.study import read_terms

PATIENTS = {"prothro": 488, "aids": 467, "heart-valve": 256}
UNOBSERVED = {"prothro": 0, "aids": 0, "heart-valve": 8}
"""Patients of whom nothing was observed after a first visit."""


def find_table(repository: Path, trial: str) -> Path:
    file = repository.parent / "shared" / "data" / "survival" / f"{trial.replace('-', '_')}.csv.gz"
    if not file.is_file():
        pytest.skip(f"shared/data/survival/{file.name} is not here")
    return file


def read_rows(file: Path) -> list[dict[str, str]]:
    with gzip.open(file, "rt", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def folders(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of each trial."""
    target, script = tmp_path_factory.mktemp("trials"), repository / "examples/longitudinal/prepare_trials.py"
    for trial in PATIENTS:
        subprocess.run([sys.executable, script, trial, find_table(repository, trial), target / trial], check=True)
    return {trial: target / trial for trial in PATIENTS}


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of each patient, by the name of the array, of all files."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*/*.npz")):
        with np.load(path) as arrays:
            for patient in np.unique(arrays["patient"]):
                assert patient not in found
                found[patient] = {key: arrays[key][arrays["patient"] == patient] for key in arrays}
    return found


@pytest.mark.parametrize(
    ("trial", "study"),
    [
        ("prothro", "prothro_atlas"),
        ("prothro", "recurrent"),
        ("aids", "aids_atlas"),
        ("heart-valve", "valve_deephit"),
    ],
)
def test_files_keep_the_contracts_and_every_patient_is_in_one(
    trial: str, study: str, repository: Path, folders: dict[str, Path]
) -> None:
    patients = PATIENTS[trial] - UNOBSERVED[trial]
    assert len(read_records(folders[trial])) == patients
    terms = read_terms(repository / "examples" / "longitudinal" / f"{study}.yaml")
    read = [read_data(terms.data, path).patients.patients for path in folders[trial].glob("*/*.npz")]
    assert sum(read) == patients


def test_records_of_cirrhosis_are_those_of_the_table(repository: Path, folders: dict[str, Path]) -> None:
    """Every visit, gap and time by a plain loop over the table."""
    rows = read_rows(find_table(repository, "prothro"))
    records = read_records(folders["prothro"])
    for patient in {row["id"] for row in rows[:200]}:
        own = sorted((row for row in rows if row["id"] == patient), key=lambda row: float(row["time"]))
        found = records[f"patient-{patient}"]
        counts = [n for n in (1, 2, 4) if n <= len(own) and float(own[0]["Time"]) > float(own[n - 1]["time"])]
        assert found["present"].sum(1).tolist() == counts
        for record, count in enumerate(counts):
            times = [float(row["time"]) for row in own[:count]]
            index = [max(-1.0, min(1.0, (float(row["pro"]) - 20) / 60 - 1)) for row in own[:count]]
            np.testing.assert_allclose(found["values"][record, :count, 0], index, atol=1e-6)
            waited = [min(1.0, (now - before) / 2) for before, now in zip([times[0], *times], times, strict=False)]
            np.testing.assert_allclose(found["gaps"][record, :count, 0], waited, atol=1e-6)
            assert found["time"][record] == pytest.approx(float(own[0]["Time"]) - times[-1], rel=1e-5)
            assert found["event"][record] == int(own[0]["death"])
            treated = 1.0 if own[0]["treat"] == "prednisone" else -1.0
            assert found["values"][record, :, 1].tolist() == [treated] + [0.0] * 7


def test_records_of_valves_are_those_of_the_table(repository: Path, folders: dict[str, Path]) -> None:
    """What was not measured is not observed, and its next measurement has waited longer."""
    rows = read_rows(find_table(repository, "heart-valve"))
    records = read_records(folders["heart-valve"])
    unmeasured = 0
    for patient in {row["num"] for row in rows}:
        own = sorted((row for row in rows if row["num"] == patient), key=lambda row: float(row["time"]))
        times = [float(row["time"]) for row in own]
        counts = [n for n in (1, 2, 4) if n <= len(own) and float(own[0]["fuyrs"]) > times[n - 1]]
        if not counts:
            assert f"patient-{patient}" not in records
            continue
        found = records[f"patient-{patient}"]
        assert found["present"].sum(1).tolist() == counts
        last = times[0]
        for visit, row in enumerate(own[: counts[-1]]):
            measured = row["grad"] not in ("", "NA")
            unmeasured += not measured
            assert found["observed"][-1, visit, 0] == measured
            gradient = max(-1.0, min(1.0, float(row["grad"]) / 40 - 1)) if measured else 0.0
            assert found["values"][-1, visit, 0] == pytest.approx(gradient, abs=1e-6)
            assert found["values"][-1, visit, 2] == pytest.approx(
                max(-1.0, min(1.0, (float(row["ef"]) - 20) / 35 - 1)), abs=1e-6
            )
            assert found["gaps"][-1, visit, 0] == pytest.approx(min(1.0, (times[visit] - last) / 2), abs=1e-6)
            last = times[visit] if measured else last
        assert found["values"][-1, 0, 3] == pytest.approx((float(own[0]["age"]) - 20) / 40 - 1, abs=1e-6)
        assert found["event"][-1] == int(own[0]["status"])
        assert found["time"][-1] == pytest.approx(float(own[0]["fuyrs"]) - times[counts[-1] - 1], rel=1e-4)
    assert unmeasured > 100


def test_times_of_hiv_are_in_years(repository: Path, folders: dict[str, Path]) -> None:
    rows = read_rows(find_table(repository, "aids"))
    records = read_records(folders["aids"])
    for row in (row for row in rows if row["obstime"] == "0"):
        found = records[f"patient-{row['patient']}"]
        assert found["time"][0] == pytest.approx(float(row["Time"]) / 12, rel=1e-5)
        assert found["values"][0, 0].tolist() == pytest.approx(
            [
                float(row["CD4"]) / 12.5 - 1,
                1.0 if row["drug"] == "ddI" else -1.0,
                1.0 if row["prevOI"] == "AIDS" else -1.0,
                1.0 if row["AZT"] == "intolerance" else -1.0,
            ],
            abs=1e-6,
        )
