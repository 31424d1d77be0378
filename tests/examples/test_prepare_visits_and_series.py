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

VISITS, EVENTS = "records/prepare_diabetes130_visits.py", "records/prepare_physionet2012_events.py"
SOURCES = {VISITS: "diabetes130/encounters.csv.gz", EVENTS: "icu2012/set_a.npz"}
STUDIES = [
    (VISITS, (), ("records/doctor_ai.yaml", "records/med2vec.yaml", "records/code_embeddings.yaml"), 11_741),
    (VISITS, ("--heart-failure",), ("records/retain.yaml", "records/phenotyping_cnn.yaml"), 11_741),
    (VISITS, ("--sentences",), ("records/deepr.yaml",), 11_741),
    (VISITS, ("--admissions",), ("records/deep_care.yaml", "records/patient2vec.yaml"), 11_741),
    (EVENTS, (), ("records/event_ensemble.yaml",), 2_000),
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
    sys.path.insert(0, str((repository / "examples" / script).parent))  # scripts import their neighbours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
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


def make_encounters(repository: Path) -> tuple[ModuleType, list[dict[str, str]]]:
    """The script, and three invented visits of a patient: the last one is what is predicted."""
    script = load_script(repository, VISITS)
    no_drug = dict.fromkeys(script.DRUGS, "No")
    first = {
        **no_drug, "diag_1": "428", "diag_2": "?", "diag_3": "V58", "insulin": "Up", "admission_type_id": "3",
        "admission_source_id": "4", "readmitted": "<30", "age": "[70-80)", "gender": "Male",
    }  # fmt: skip
    second = first | {"diag_1": "8", "insulin": "No", "admission_source_id": "7", "admission_type_id": "1"}
    return script, [first, second, first]


def test_a_sentence_has_the_words_of_its_visits_in_order_and_their_gaps(repository: Path) -> None:
    script, encounters = make_encounters(repository)
    record = script.make_sentence("0", encounters)
    transfer, insulin, soon = (script.EXTRA_WORDS[word] for word in ("transfer", "insulin", "within 30 days"))
    assert record["words"][:8].tolist() == [transfer, 429, 1059, insulin, soon, 9, 1059, 0]
    assert record["label"] == 1  # the last visit has 428
    assert max(script.EXTRA_WORDS.values()) == 1321
    longer = script.make_sentence("0", encounters[:2] * 30)
    assert (longer["words"] != 0).all()
    assert longer["words"][-4:].tolist() == [transfer, 429, 1059, insulin]  # the last visit is left out


def test_an_admission_has_diagnoses_drugs_method_and_the_gap_before_it(repository: Path) -> None:
    script, encounters = make_encounters(repository)
    record = script.make_admissions("0", encounters)
    assert record["diagnoses"][:3].tolist() == [[429, 1059, 0], [9, 1059, 0], [0, 0, 0]]
    assert record["interventions"][0, :2].tolist() == [1 + script.DRUGS.index("insulin"), 0]
    assert record["gaps"][:3].tolist() == [0, 15, 0]
    assert record["planned"][:3].tolist() == [True, False, False]
    assert record["present"].sum() == 2
    assert record["events"][1, :3].tolist() == [9, 1059, 0]
    assert record["demographics"].tolist() == pytest.approx([0.75, 1.0])


def test_events_of_a_stay_are_ranges_once_in_six_hours_newest_first(repository: Path) -> None:
    script = load_script(repository, EVENTS)
    first = 1 + 5 * list(script.LIMITS).index("HR")
    rows = [
        (0, "HR", 40.0),
        (359, "HR", 49.0),
        (360, "HR", 49.0),
        (400, "HR", 50.0),
        (2879, "HR", 130.0),
        (2880, "HR", 1.0),
    ]
    stay = script.Stay("0", rows, 4000, True, {"Age": 54.0, "Gender": 1.0, "Height": -1.0, "ICUType": 3.0})
    record = script.make_record(stay)
    facts = 1 + 5 * len(script.LIMITS)
    assert record["events"][:3].tolist() == [facts + 3, facts + 9, facts + 12]
    assert record["events"][3:8].tolist() == [first + 4, first + 1, first, first, 0]
    assert record["hours"][3:7].tolist() == pytest.approx([1 / 60, 48 - 400 / 60, 42, 48 - 359 / 60], abs=1e-5)
    assert (record["label"], script.WORDS) == (1, 200)


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
