from pathlib import Path

import pandas as pd
import pytest

from privacy.errors import FederationError
from server.demo.hospitals import make_breast_cancer_hospitals, read_heart_hospitals


def test_breast_cancer_hospitals_share_out_every_patient_once() -> None:
    hospitals = make_breast_cancer_hospitals(seed=0)
    ids = pd.concat([table["patient"] for hospital in hospitals for table in (hospital.train, hospital.test)])
    assert len(ids) == ids.nunique() == 569


def test_breast_cancer_hospitals_are_uneven_in_size_and_case_mix() -> None:
    hospitals = make_breast_cancer_hospitals(seed=0)
    whole = {hospital.name: pd.concat([hospital.train, hospital.test]) for hospital in hospitals}
    assert {name: len(table) for name, table in whole.items()} == {
        "university": 228, "city": 160, "county": 113, "coast": 68,
    }  # fmt: skip
    malignant = {name: int((table["diagnosis"] == "malignant").sum()) for name, table in whole.items()}
    assert malignant == {"university": 105, "city": 60, "county": 28, "coast": 19}


def test_breast_cancer_hospitals_hold_out_a_quarter() -> None:
    for hospital in make_breast_cancer_hospitals(seed=3):
        share = len(hospital.test) / (len(hospital.train) + len(hospital.test))
        assert share == pytest.approx(0.25, abs=0.01)


def test_breast_cancer_hospitals_follow_their_seed() -> None:
    first, again, other = (make_breast_cancer_hospitals(seed)[0].train for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_hospital_writes_two_files(tmp_path: Path) -> None:
    hospital = make_breast_cancer_hospitals(seed=0)[3]
    train, test = hospital.write(tmp_path / "coast")
    assert len(pd.read_csv(train)) == len(hospital.train)
    assert len(pd.read_csv(test)) == len(hospital.test)


def test_heart_hospitals_are_the_four_of_the_collection(repository: Path) -> None:
    folder = repository.parent / "shared" / "data" / "heart"
    if not folder.is_dir():
        pytest.skip("shared/data/heart is not here")
    sizes = {hospital.name: len(hospital.train) + len(hospital.test) for hospital in read_heart_hospitals(folder)}
    assert sizes == {"cleveland": 303, "budapest": 294, "zurich": 123, "long-beach": 200}


def test_heart_hospitals_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match=r"processed\.cleveland\.data: not found"):
        read_heart_hospitals(tmp_path)
