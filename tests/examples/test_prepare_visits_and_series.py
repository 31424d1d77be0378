"""The scripts that make files of visits and of series: what they write is in the tables, and keeps the contracts."""

import csv
import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from client.data.site_data import read_data
from privacy.study import read_terms

Arrays = dict[str, Any]

SOURCES = {
    "records/prepare_diabetes130_visits.py": "diabetes130/encounters.csv.gz",
}
STUDIES = [
    ("records/prepare_diabetes130_visits.py", (), ("records/doctor_ai.yaml", "records/med2vec.yaml"), 11_741),
    ("records/prepare_diabetes130_visits.py", ("--heart-failure",), ("records/retain.yaml",), 11_741),
]


def find_source(repository: Path, script: str) -> Path:
    file = repository.parent / "shared" / "data" / SOURCES[script]
    if not file.is_file():
        pytest.skip(f"shared/data/{SOURCES[script]} is not here")
    return file.parent


def run(repository: Path, script: str, target: Path, *options: str) -> dict[str, Arrays]:
    """Run a script; return the arrays of every file by ``site-1/train``."""
    program: list[str | Path] = [
        sys.executable,
        repository / "examples" / script,
        find_source(repository, script),
        target,
        *options,
    ]
    subprocess.run(program, check=True, capture_output=True)
    files = {}
    for path in sorted(target.glob("*/*.npz")):
        with np.load(path) as arrays:
            files[f"{path.parent.name}/{path.stem}"] = dict(arrays)
    return files


def load_script(repository: Path, script: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(script).stem, repository / "examples" / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_records(files: dict[str, Arrays], patient: str) -> Arrays:
    """The records of one patient, from the file that has them."""
    (found,) = [file for file in files.values() if patient in file["patient"]]
    return {name: array[found["patient"] == patient] for name, array in found.items()}


@pytest.mark.parametrize(("script", "options", "studies", "patients"), STUDIES)
def test_files_keep_the_contracts_and_no_patient_is_in_two_of_them(
    script: str,
    options: tuple[str, ...],
    studies: tuple[str, ...],
    patients: int,
    repository: Path,
    tmp_path: Path,
) -> None:
    files = run(repository, script, tmp_path, *options)
    assert list(files) == [f"site-{site}/{part}" for site in (1, 2, 3) for part in ("test", "train")]
    ids = [set(file["patient"].tolist()) for file in files.values()]
    assert sum(map(len, ids)) == len(set.union(*ids)) == patients
    for study in studies:
        terms = read_terms(repository / "examples" / study)
        for name, file in files.items():
            read = read_data(terms.data, tmp_path / f"{name}.npz")
            assert read.patients.patients == len(set(file["patient"].tolist()))
            assert len(read.patients.patient) == len(file["patient"])


def test_visits_have_the_codes_of_the_table(repository: Path, tmp_path: Path) -> None:
    """Patient 0: first visit 428, 401 and 250, second visit 584, 404 and 585."""
    script = "records/prepare_diabetes130_visits.py"
    found = find_records(run(repository, script, tmp_path / "all"), "patient-0")
    assert found["present"].sum() == 2
    assert [np.flatnonzero(visit).tolist() for visit in found["visits"][0, :3]] == [
        [250, 401, 428],
        [404, 584, 585],
        [],
    ]
    files = run(repository, script, tmp_path / "heart-failure", "--heart-failure")
    shorter = find_records(files, "patient-0")
    assert shorter["present"].sum() == 1
    assert (shorter["visits"][0, 0] == found["visits"][0, 0]).all()
    assert shorter["label"].tolist() == [0]  # the last visit has no 428
    assert count_last_visits_with(repository, script, "428") == sum(
        int(file["label"].sum()) for file in files.values()
    )


def count_last_visits_with(repository: Path, script: str, category: str) -> int:
    """How many patients with two visits or more have a diagnosis of the category at the last one."""
    last: dict[str, list[dict[str, str]]] = {}
    with gzip.open(find_source(repository, script) / "encounters.csv.gz", "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            last.setdefault(row["patient"], []).append(row)
    ends = [max(rows, key=lambda row: int(row["visit"])) for rows in last.values() if len(rows) > 1]
    return sum(any(end[f"diag_{place}"].split(".")[0] == category for place in (1, 2, 3)) for end in ends)


def test_every_kind_of_code_has_a_number_of_its_own(repository: Path) -> None:
    number_code = load_script(repository, "records/prepare_diabetes130_visits.py").number_code
    assert [number_code(code) for code in ("8", "250.83", "V58", "E800", "E947", "?", "")] == [
        8,
        250,
        1058,
        1100,
        1247,
        None,
        None,
    ]
