"""The scripts that make files of visits and of series: what they write is in the tables, and keeps the contracts."""

import csv
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
    "records/prepare_physionet2012.py": "icu2012/set_a.npz",
    "records/prepare_diabetes130_visits.py": "diabetes130/encounters.csv.gz",
    "longitudinal/prepare_pbc2.py": "survival/pbc2.csv",
}
STUDIES = [
    ("records/prepare_physionet2012.py", (), ("records/gru_d.yaml",), 2000),
    ("records/prepare_diabetes130_visits.py", (), ("records/doctor_ai.yaml", "records/med2vec.yaml"), 11_741),
    ("records/prepare_diabetes130_visits.py", ("--readmission",), ("records/retain.yaml",), 11_741),
    ("longitudinal/prepare_pbc2.py", (), ("longitudinal/dynamic_deephit.yaml",), 312),
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


def test_stay_has_the_last_value_of_every_hour(repository: Path, tmp_path: Path) -> None:
    script = "records/prepare_physionet2012.py"
    files = run(repository, script, tmp_path)
    assert np.concatenate([file["label"] for file in files.values()]).mean() == pytest.approx(0.1285)
    with np.load(find_source(repository, script) / "set_a.npz") as arrays:
        raw, names = dict(arrays), list(arrays["names"])
    variables = load_script(repository, script).VARIABLES
    own = slice(raw["ptr"][4], raw["ptr"][5])
    found = find_records(files, "stay-4")
    for name, low, high in (("HR", 30, 180), ("Na", 115, 165)):
        minutes = raw["minute"][own][raw["variable"][own] == names.index(name)]
        values = raw["value"][own][raw["variable"][own] == names.index(name)]
        place = variables.index(name)
        for hour in range(48):
            inside = values[minutes // 60 == hour]
            assert found["observed"][0, hour, place] == bool(len(inside))
            wanted = 2 * (inside[-1] - low) / (high - low) - 1 if len(inside) else 0
            assert found["values"][0, hour, place] == pytest.approx(wanted, abs=1e-6)


def test_gaps_are_hours_since_the_last_measurement(repository: Path, tmp_path: Path) -> None:
    found = find_records(run(repository, "records/prepare_physionet2012.py", tmp_path), "stay-7")
    observed, present = found["observed"][0], found["present"][0]
    for variable in range(observed.shape[1]):
        last = 0
        for hour in np.flatnonzero(present).tolist():
            if hour and observed[hour - 1, variable]:
                last = hour - 1
            assert found["gaps"][0, hour, variable] == pytest.approx((hour - last) / 48, abs=1e-6)
    assert not found["gaps"][0, ~present].any()


def test_text_files_of_stays_say_what_the_arrays_say(repository: Path, tmp_path: Path) -> None:
    """The form that PhysioNet publishes, written here from the arrays."""
    script = load_script(repository, "records/prepare_physionet2012.py")
    source = find_source(repository, "records/prepare_physionet2012.py")
    stays = [stay for _, stay in zip(range(3), script.read_arrays(source / "set_a.npz"), strict=False)]
    (tmp_path / "set-a").mkdir()
    for stay in stays:
        with (tmp_path / "set-a" / f"{stay.number}.txt").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["Time", "Parameter", "Value"])
            table.writerows([["00:00", "RecordID", stay.number], ["00:00", "Weight", -1]])
            table.writerows([f"{minute // 60:02}:{minute % 60:02}", *rest] for minute, *rest in stay.measurements)
    with (tmp_path / "Outcomes-a.txt").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["RecordID", "In-hospital_death"])
        table.writerows([stay.number, int(stay.died)] for stay in stays)
    for ours, theirs in zip(stays, script.read_stays(tmp_path), strict=True):
        for name, tensor in script.make_record(ours).items():
            np.testing.assert_array_equal(tensor, script.make_record(theirs)[name])


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
    shorter = find_records(run(repository, script, tmp_path / "readmission", "--readmission"), "patient-0")
    assert shorter["present"].sum() == 1
    assert (shorter["visits"][0, 0] == found["visits"][0, 0]).all()
    assert shorter["label"].tolist() == [0]  # "> 30" days


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


def test_survival_is_counted_from_the_last_visit_of_a_record(repository: Path, tmp_path: Path) -> None:
    """Patient 1: visits at 0 and 0.526 years, bilirubin 14.5 and 21.3, cholesterol 261 and missing, dead at 1.095."""
    files = run(repository, "longitudinal/prepare_pbc2.py", tmp_path)
    found = find_records(files, "patient-1")
    assert found["present"].sum(1).tolist() == [1, 2]
    assert found["time"] == pytest.approx([1.095170, 1.095170 - 0.525682], abs=1e-6)
    assert found["event"].tolist() == [1, 1]
    bilirubin, cholesterol = found["values"][1, :2, 1], found["observed"][:, :2, 2].tolist()
    assert bilirubin == pytest.approx(2 * np.log(np.array([14.5, 21.3]) / 0.2) / np.log(200) - 1, abs=1e-6)
    assert cholesterol == [[True, False], [True, False]]
    assert found["gaps"][1, 1] == pytest.approx(np.full(15, 0.525682 / 5), abs=1e-6)
    first = np.concatenate([file["event"][file["present"].sum(1) == 1] for file in files.values()])
    assert np.bincount(first).tolist() == [143, 140, 29]  # alive, dead, transplanted
