"""The script that makes files of a trial of patients with cirrhosis: what it writes is in the table."""

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

PATIENTS = 488


@pytest.fixture(scope="module")
def table(repository: Path) -> Path:
    file = repository.parent / "shared" / "data" / "survival" / "prothro.csv.gz"
    if not file.is_file():
        pytest.skip("shared/data/survival/prothro.csv.gz is not here")
    return file


@pytest.fixture(scope="module")
def folder(repository: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target, script = tmp_path_factory.mktemp("sites"), repository / "examples/longitudinal/prepare_prothro.py"
    subprocess.run([sys.executable, script, table, target], check=True)
    return target


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of each patient, by the name of the array, of all files."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*/*.npz")):
        with np.load(path) as arrays:
            for patient in np.unique(arrays["patient"]):
                assert patient not in found
                found[patient] = {key: arrays[key][arrays["patient"] == patient] for key in arrays}
    return found


@pytest.mark.parametrize("study", ["prothro_atlas", "recurrent"])
def test_files_keep_the_contracts_and_every_patient_is_in_one(study: str, repository: Path, folder: Path) -> None:
    assert len(read_records(folder)) == PATIENTS
    terms = read_terms(repository / "examples" / "longitudinal" / f"{study}.yaml")
    read = [read_data(terms.data, path).patients.patients for path in folder.glob("*/*.npz")]
    assert sum(read) == PATIENTS


def test_records_are_those_of_the_table(table: Path, folder: Path) -> None:
    """Every visit, gap and time by a plain loop over the table."""
    with gzip.open(table, "rt", newline="") as lines:
        rows = list(csv.DictReader(lines))
    records = read_records(folder)
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
