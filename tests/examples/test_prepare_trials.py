"""The script that makes files of trials with repeated measurements: what it writes is in the tables."""

import csv
import gzip
import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data.site_data import read_data
from privacy.study import read_terms

STUDIES = {
    "prothro": ("prothro_atlas", "recurrent"),
    "heart_valve": ("valve_modalities",),
}
PATIENTS = {"prothro": 488, "heart_valve": 248}

Prepare = Callable[[str], Path]


@pytest.fixture(scope="module")
def prepare(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """Runs the script once for a trial, and returns the folder with what it wrote."""

    @cache
    def run(trial: str) -> Path:
        target, script = tmp_path_factory.mktemp(trial), repository / "examples/longitudinal/prepare_trials.py"
        subprocess.run([sys.executable, script, trial, find_table(repository, trial), target], check=True)
        return target

    return run


def find_table(repository: Path, trial: str) -> Path:
    file = repository.parent / "shared" / "data" / "survival" / f"{trial}.csv.gz"
    if not file.is_file():
        pytest.skip(f"shared/data/survival/{trial}.csv.gz is not here")
    return file


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of each patient, by the name of the array, of all files."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*/*.npz")):
        with np.load(path) as arrays:
            for patient in np.unique(arrays["patient"]):
                assert patient not in found
                found[patient] = {key: arrays[key][arrays["patient"] == patient] for key in arrays}
    return found


@pytest.mark.parametrize("trial", STUDIES)
def test_files_keep_the_contracts_and_every_patient_is_in_one(
    trial: str, repository: Path, prepare: Prepare
) -> None:
    folder = prepare(trial)
    assert len(read_records(folder)) == PATIENTS[trial]
    for study in STUDIES[trial]:
        terms = read_terms(repository / "examples" / "longitudinal" / f"{study}.yaml")
        read = [read_data(terms.data, path).patients.patients for path in folder.glob("*/*.npz")]
        assert sum(read) == PATIENTS[trial]


def test_records_of_cirrhosis_are_those_of_the_table(repository: Path, prepare: Prepare) -> None:
    """Every visit, gap and time by a plain loop over the table."""
    with gzip.open(find_table(repository, "prothro"), "rt", newline="") as lines:
        rows = list(csv.DictReader(lines))
    records = read_records(prepare("prothro"))
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


def test_what_was_not_measured_at_a_visit_is_not_observed(repository: Path, prepare: Prepare) -> None:
    """The gradient of patients after a valve's replacement was not measured at every visit, the mass was."""
    with gzip.open(find_table(repository, "heart_valve"), "rt", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["num"] == "2"]
    records = read_records(prepare("heart_valve"))["patient-2"]
    count = int(records["present"][-1].sum())
    for visit, row in enumerate(sorted(rows, key=lambda row: float(row["time"]))[:count]):
        given = row["grad"] not in ("", "NA")
        assert bool(records["observed"][-1, visit, 10]) == given
        mass = 2 * (math.log(float(row["lvmi"])) - math.log(50)) / (math.log(400) - math.log(50)) - 1
        assert records["values"][-1, visit, 11] == pytest.approx(max(-1.0, min(1.0, mass)), abs=1e-5)
    assert not records["observed"][:, 1:, :10].any()
