"""Hospitals of a demonstration: each folder has two files of the contract, or its own data with a mapping."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from privacy.errors import FederationError, TermsError
from server.demo.sources import DemoChoice, FolderHospital, MappedHospital, choose_study


def choose(repository: Path, data: Path) -> tuple[object, ...]:
    study = repository / "examples" / "tabular" / "logistic.yaml"
    _, hospitals = choose_study(DemoChoice(None, None, study, data, None, False, "3", None))
    return hospitals


def test_folder_with_a_mapping_is_a_hospital_with_its_own_data(repository: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for folder, names in {"north": ("train.csv", "test.csv"), "south": ("mapping.yaml", "clinic.sqlite")}.items():
        (data / folder).mkdir(parents=True)
        for name in names:
            (data / folder / name).write_text(name)
    north, south = choose(repository, data)
    assert isinstance(north, FolderHospital)
    assert isinstance(south, MappedHospital)
    assert [path.read_text() for path in north.write(tmp_path / "n")] == ["train.csv", "test.csv"]
    (mapping,) = south.write(tmp_path / "s")
    assert mapping == tmp_path / "s" / "mapping.yaml"
    assert (tmp_path / "s" / "clinic.sqlite").read_text() == "clinic.sqlite"


def test_folder_with_neither_says_what_it_lacks(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "north").mkdir()
    (tmp_path / "north" / "train.csv").touch()
    with pytest.raises(FederationError, match=r"north: lacks test\.csv, and mapping\.yaml"):
        choose(repository, tmp_path)


def test_study_that_begins_with_public_weights_asks_for_their_file(repository: Path, tmp_path: Path) -> None:
    study = repository / "examples" / "drugs" / "gans_dta.yaml"
    choice = DemoChoice(None, None, study, tmp_path, None, False, "3", None)
    with pytest.raises(
        FederationError, match=r"kinase-affinity-public-towers.* public weights 357435f86e9b1c7a; .*--weights"
    ):
        choose_study(choice)
    other = tmp_path / "other.safetensors"
    save_file({"layers.0.weight": torch.zeros(1)}, other)
    with pytest.raises(TermsError, match=r"other\.safetensors: .*357435f86e9b1c7a"):
        choose_study(replace(choice, weights=other))


def test_weights_for_a_study_without_public_weights_are_refused(repository: Path, tmp_path: Path) -> None:
    study = repository / "examples" / "tabular" / "logistic.yaml"
    with pytest.raises(TermsError, match="begins with no public weights"):
        choose_study(DemoChoice(None, None, study, tmp_path, None, False, "3", None, tmp_path / "any.safetensors"))
