import itertools
from pathlib import Path

import pandas as pd
import pytest

from privacy.errors import FederationError
from server.demo.hospitals import make_breast_cancer_hospitals, make_specialised_hospitals, read_heart_hospitals


def test_specialised_hospitals_share_out_every_patient_once() -> None:
    hospitals = make_specialised_hospitals(seed=0)
    ids = pd.concat([table["patient"] for hospital in hospitals for table in (hospital.train, hospital.test)])
    assert len(ids) == ids.nunique() == 569


def test_specialised_hospitals_are_divided_by_the_nuclei_alone() -> None:
    """The counts are those of the published table, by class and mean radius, whatever the seed."""
    for seed in (0, 1):
        whole = {each.name: pd.concat([each.train, each.test]) for each in make_specialised_hospitals(seed)}
        malignant = {name: int((table["diagnosis"] == "malignant").sum()) for name, table in whole.items()}
        assert {name: len(table) for name, table in whole.items()} == {
            "screening": 124, "county": 132, "clinic": 139, "referral": 174,
        }  # fmt: skip
        assert malignant == {"screening": 3, "county": 9, "clinic": 39, "referral": 161}
        radii = [(table["mean radius"].min(), table["mean radius"].max()) for table in whole.values()]
        assert all(largest < least for (_, largest), (least, _) in itertools.pairwise(radii))


def test_specialised_hospitals_keep_enough_training_patients_for_a_sites_policy() -> None:
    for hospital in make_specialised_hospitals(seed=0):
        assert len(hospital.train) >= 50
        assert len(hospital.test) / (len(hospital.train) + len(hospital.test)) == pytest.approx(0.4, abs=0.01)


def test_specialised_hospitals_follow_their_seed() -> None:
    first, again, other = (make_specialised_hospitals(seed)[0].train for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


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
