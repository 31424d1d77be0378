"""The script that makes files of three regions from diagnoses of intensive care: what it writes is in the tables."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from client.data.site_data import read_data
from privacy.study import read_terms

REGIONS = ("elsewhere", "midwest", "south")
VISIT_STUDIES = ("intensive_diagnoses", "intensive_diagnosis_vectors", "intensive_code_vectors")
STAY_STUDIES = ("long_stays", "long_stays_motifs", "long_stays_attention", "long_stays_memory")
TREATMENTS_AFTER = 1300  # in the vocabulary


@pytest.fixture(scope="module")
def source(repository: Path) -> Path:
    folder = repository.parent / "shared" / "data" / "eicu"
    if not folder.is_dir():
        pytest.skip("shared/data/eicu is not here")
    return folder


def run(repository: Path, source: Path, target: Path, *options: str) -> Path:
    script = repository / "examples/records/prepare_eicu_regions.py"
    subprocess.run([sys.executable, script, source, target, *options], check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def made(repository: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the regions' files."""
    return run(repository, source, tmp_path_factory.mktemp("regions"))


@pytest.fixture(scope="module")
def stays(repository: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the regions' files of stays."""
    return run(repository, source, tmp_path_factory.mktemp("stays"), "--long-stays")


def read_people(made: Path) -> dict[str, tuple[str, list[list[int]]]]:
    """The region of each person, and the numbers of each visit's categories."""
    found: dict[str, tuple[str, list[list[int]]]] = {}
    for path in sorted(made.glob("*/*.npz")):
        with np.load(path) as arrays:
            for person, visits, present in zip(
                *(arrays[key] for key in ("patient", "visits", "present")), strict=True
            ):
                assert person not in found
                assert not visits[~present].any()
                found[str(person)] = path.parent.name, [np.flatnonzero(visit).tolist() for visit in visits[present]]
    return found


def compute_people(source: Path) -> dict[str, tuple[str, list[list[int]]]]:
    """The same by joins of the tables."""
    read: Any = pd.read_csv
    tables = {name: read(source / f"{name}.csv.gz", dtype=str) for name in ("diagnosis", "patient", "hospital")}
    rows = (
        tables["diagnosis"]
        .merge(tables["patient"], on="patientunitstayid")
        .merge(tables["hospital"], on="hospitalid", how="left")
    )
    rows["code"] = (
        rows.icd9code.str.split(",").str[0].str.extract(r"^(\d{3}|V\d\d|E[89]\d\d)(?:\.|$)", expand=False)
    )
    rows = rows.dropna(subset=["code"])
    rows["minute"] = rows.diagnosisoffset.astype(int) - rows.hospitaladmitoffset.astype(int)
    rows["year"], rows["stay"] = rows.hospitaldischargeyear.astype(int), rows.patienthealthsystemstayid.astype(int)
    people = {}
    rows["region"] = rows.region.map({"South": "south", "Midwest": "midwest"}).fillna("elsewhere")
    for person, everywhere in rows.sort_values(["year", "stay", "minute"]).groupby("uniquepid"):
        region = everywhere.region.iloc[0]
        own = everywhere[everywhere.region == region]
        visits = own.groupby(["year", "stay", "minute"]).code.agg(lambda codes: sorted(set(map(number, codes))))
        if len(visits) > 1:
            people[str(person)] = region, visits.tolist()[-10:]
    return people


def number(category: str) -> int:
    offsets = {"V": 1000, "E": 300}  # E800 is 1100
    return offsets.get(category[0], 0) + int(category.lstrip("VE"))


def test_visits_are_what_was_entered_at_one_time(made: Path, source: Path) -> None:
    found = read_people(made)
    assert len(found) == 62
    assert found == compute_people(source)


@pytest.mark.parametrize("study", VISIT_STUDIES)
def test_files_keep_the_contracts(study: str, made: Path, repository: Path) -> None:
    terms = read_terms(repository / f"examples/records/{study}.yaml")
    people = 0
    for region in REGIONS:
        train, test = (read_data(terms.data, made / region / f"{part}.npz") for part in ("train", "test"))
        assert test.patients.patients == (train.patients.patients + test.patients.patients) // 4
        people += train.patients.patients + test.patients.patients
    assert people == 62


@pytest.mark.parametrize("study", STAY_STUDIES)
def test_files_of_stays_keep_the_contracts(study: str, stays: Path, repository: Path) -> None:
    terms = read_terms(repository / f"examples/records/{study}.yaml")
    people = records = 0
    for region in REGIONS:
        train, test = (read_data(terms.data, stays / region / f"{part}.npz") for part in ("train", "test"))
        assert test.patients.patients == (train.patients.patients + test.patients.patients) // 4
        people += train.patients.patients + test.patients.patients
        records += train.patients.records + test.patients.records
    assert (people, records) == (82, 118)


def read_stays(stays: Path) -> dict[str, np.ndarray]:
    """The arrays of all files, one after the other."""
    files = [np.load(path) for path in sorted(stays.glob("*/*.npz"))]
    return {name: np.concatenate([file[name] for file in files]) for name in files[0].files}


def compute_stays(source: Path) -> list[tuple[str, int, list[list[int]]]]:
    """Person, label and the categories of each time of the first hours, by joins of the tables."""
    read: Any = pd.read_csv
    tables = {name: read(source / f"{name}.csv.gz", dtype=str) for name in ("diagnosis", "patient", "treatment")}
    stays = tables["patient"]
    stays["minutes"] = stays.unitdischargeoffset.astype(int)
    stays = stays[(stays.unitvisitnumber == "1") & (stays.minutes > 720)]
    rows = tables["diagnosis"].merge(stays, on="patientunitstayid")
    rows["code"] = (
        rows.icd9code.str.split(",").str[0].str.extract(r"^(\d{3}|V\d\d|E[89]\d\d)(?:\.|$)", expand=False)
    )
    rows = rows.dropna(subset=["code"])
    rows["minute"] = rows.diagnosisoffset.astype(int)
    rows = rows[rows.minute <= 720].sort_values(["patientunitstayid", "minute"])
    found = []
    for _, own in rows.groupby("patientunitstayid"):
        times = own.groupby("minute").code.agg(lambda codes: sorted(set(map(number, codes)))).tolist()
        found.append((own.uniquepid.iloc[0], int(own.minutes.iloc[0] > 2880), times))
    return sorted(found)


def test_a_stay_has_what_was_entered_in_its_first_hours(stays: Path, source: Path) -> None:
    arrays = read_stays(stays)
    found = []
    for person, label, visits in zip(*(arrays[key] for key in ("patient", "label", "visits")), strict=True):
        numbers = [np.flatnonzero(visit[:TREATMENTS_AFTER]).tolist() for visit in visits]
        if times := [each for each in numbers if each]:
            found.append((str(person), int(label), times))
    computed = compute_stays(source)
    # one person was in two regions: stays in the other one are left out
    missing = [each for each in computed if each not in found]
    assert sorted([*found, *missing]) == computed
    assert len({person for person, _, _ in missing}) == 1
    assert arrays["label"].sum() == 54


def test_all_forms_of_a_stay_say_the_same(stays: Path) -> None:
    arrays = read_stays(stays)
    for place in range(len(arrays["label"])):
        visits, present = arrays["visits"][place], arrays["present"][place]
        assert not visits[~present].any()
        words = [(1 + np.flatnonzero(visit)).tolist() for visit in visits[present]]
        origin = int(arrays["words"][place, 0])
        gaps = arrays["gaps"][place][1 : present.sum()]
        later = [int(word) for word in arrays["words"][place] if word >= 1332]  # within an hour, later
        assert [word == 1332 for word in later] == [gap <= 1 for gap in gaps]
        sentence = [origin, *words[0]]
        for gap, each in zip(later, words[1:], strict=True):
            sentence += [gap, *each]
        assert arrays["words"][place, : len(sentence)].tolist() == sentence
        assert not arrays["words"][place, len(sentence) :].any()
        events = [[event for event in each if event] for each in arrays["events"][place].tolist()]
        assert events[: present.sum()] == [[origin, *words[0]], *words[1:]]
        for row, each in enumerate(words):
            codes = [int(word) for word in arrays["diagnoses"][place, row] if word]
            treatments = [TREATMENTS_AFTER + int(word) for word in arrays["interventions"][place, row] if word]
            assert codes + treatments == each
        assert arrays["planned"][place].all() or not arrays["planned"][place].any()
        if origin == 1330:  # after an operation
            assert arrays["planned"][place].all()
