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


@pytest.fixture(scope="module")
def source(repository: Path) -> Path:
    folder = repository.parent / "shared" / "data" / "eicu"
    if not folder.is_dir():
        pytest.skip("shared/data/eicu is not here")
    return folder


@pytest.fixture(scope="module")
def made(repository: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the regions' files."""
    target = tmp_path_factory.mktemp("regions")
    script = repository / "examples/records/prepare_eicu_regions.py"
    subprocess.run([sys.executable, script, source, target], check=True, capture_output=True)
    return target


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


def test_files_keep_the_contract(made: Path, repository: Path) -> None:
    terms = read_terms(repository / "examples/records/intensive_diagnoses.yaml")
    people = 0
    for region in REGIONS:
        train, test = (read_data(terms.data, made / region / f"{part}.npz") for part in ("train", "test"))
        assert test.patients.patients == (train.patients.patients + test.patients.patients) // 4
        people += train.patients.patients + test.patients.patients
    assert people == 62
