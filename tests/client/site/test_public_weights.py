"""Public weights in a site's folder."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from benchmarks.small_study import small_terms, write_patients
from client.data.site_data import read_data
from client.site.folder import SiteFolder
from client.site.public_weights import PublicWeights
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import train
from client.training.study_model import begin_model, make_first_model
from models.parameters.flatten import read_shared_parameters
from privacy.canonical import compute_sha256
from privacy.errors import RefusedError, SiteConfigError
from privacy.study import Terms

DATA = save({"layers.0.weight": np.full((1, 5), 0.25, dtype=np.float32), "layers.0.bias": np.ones(1, np.float32)})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "public.safetensors"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def shelf(tmp_path: Path) -> PublicWeights:
    return PublicWeights(tmp_path / "weights")


def started(data: bytes = DATA) -> Terms:
    return small_terms(model={"start": compute_sha256(data)})


def test_weights_that_are_added_lie_under_their_hash(file: Path, shelf: PublicWeights) -> None:
    assert shelf.list_held() == frozenset()
    for _ in range(2):
        assert shelf.add(file) == compute_sha256(DATA)
    assert shelf.list_held() == {compute_sha256(DATA)}
    assert shelf.build_path(compute_sha256(DATA)).read_bytes() == DATA
    assert shelf.read_size(compute_sha256(DATA)) == len(DATA)
    assert [path.name for path in shelf.folder.iterdir()] == [f"{compute_sha256(DATA)}.safetensors"]
    assert shelf.folder.stat().st_mode & 0o077 == 0


def test_weights_stay_when_the_file_they_came_from_goes(file: Path, shelf: PublicWeights) -> None:
    digest = shelf.add(file)
    file.unlink()
    assert shelf.build_path(digest).read_bytes() == DATA


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "No such file"),
        (b"\x80\x04K\x01.", "no safetensors file"),
        (save({"a": np.zeros(3, dtype=np.int32)}), "tensor 'a' is of type I32"),
    ],
)
def test_file_that_is_no_weights_is_refused_with_its_name(
    tmp_path: Path, shelf: PublicWeights, data: bytes | None, sentence: str
) -> None:
    path = tmp_path / "strange.pt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SiteConfigError, match=rf"strange\.pt: .*{sentence}"):
        shelf.add(path)
    assert shelf.list_held() == frozenset()


def test_site_has_its_weights_in_its_folder(folder: Path, file: Path) -> None:
    home = SiteFolder(folder)
    home.open_public_weights().add(file)
    assert SiteFolder(folder).open_public_weights().list_held() == {compute_sha256(DATA)}


def test_model_begins_as_the_weights_say(file: Path) -> None:
    assert make_first_model(started(), file).tolist() == [0.25] * 5 + [1.0]
    module, given = begin_model(started(), file)
    assert given == {"layers.0.weight", "layers.0.bias"}
    assert read_shared_parameters(module).tolist() == [0.25] * 5 + [1.0]


@pytest.mark.parametrize("lost", [True, False])
def test_model_without_its_weights_is_refused_and_told_what_to_run(tmp_path: Path, lost: bool) -> None:
    missing = tmp_path / "gone.safetensors"
    with pytest.raises(RefusedError, match="consilium-site weights add FILE") as caught:
        make_first_model(started(), None if lost else missing)
    assert caught.value.code == "weights"
    assert str(tmp_path) not in str(caught.value), "what a site refuses leaves it"


def test_weights_that_changed_since_they_were_added_are_refused(file: Path) -> None:
    file.write_bytes(DATA[:-1] + b"\x00")
    with pytest.raises(RefusedError, match="this is not the file that the terms name"):
        make_first_model(started(), file)


def test_training_that_needs_weights_never_begins_with_others(tmp_path: Path) -> None:
    """Whoever forgets to hand the model over gets no random one."""
    patients = read_data(small_terms().data, write_patients(tmp_path / "t.csv", 40, "p")).patients
    with pytest.raises(RefusedError, match="cannot be used: not here"):
        train(np.zeros(6), started(), DeviceRecords(patients, started(), CPU.device), 40, 1.0, CPU)
