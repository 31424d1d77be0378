"""What a site computes on: found, or refused with a sentence; and what half the precision does not change."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.small_study import small_terms, write_patients
from client.data.examples import Patients
from client.data.site_data import read_data
from client.site.config import SiteConfig
from client.training.device import CPU, Device
from client.training.device_records import DeviceRecords
from client.training.local_steps import train
from client.training.study_model import make_first_model
from privacy.errors import TrainingError
from privacy.randomness import KeyStream

KEY = bytes(32)
BFLOAT16 = Device.choose("cpu", "bfloat16")


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Patients:
    path = write_patients(tmp_path_factory.mktemp("table") / "table.csv", 40, "a", seed=1)
    return read_data(small_terms().data, path).patients


def test_auto_takes_what_is_there() -> None:
    assert Device.choose("auto").device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_single_precision_leaves_the_model_its_own_type() -> None:
    assert Device.choose("cpu") == CPU
    assert CPU.precision is None


def test_unknown_device_is_a_sentence() -> None:
    with pytest.raises(TrainingError, match="device 'abacus' is not available"):
        Device.choose("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a graphics processor here")
def test_missing_graphics_processor_is_a_sentence() -> None:
    with pytest.raises(TrainingError, match="device 'cuda' is not available"):
        Device.choose("cuda")


def test_configuration_chooses_single_precision_unless_told() -> None:
    assert SiteConfig(name="north").precision == "float32"
    assert SiteConfig.model_validate({"name": "north", "precision": "bfloat16"}).precision == "bfloat16"


def test_bfloat16_trains_nearly_the_same_from_the_same_draw(patients: Patients) -> None:
    terms = small_terms()
    plain, mixed = (
        train(
            make_first_model(terms),
            terms,
            DeviceRecords(patients, terms, hardware.device),
            40,
            1e-3,
            hardware,
            KeyStream(KEY),
        ).update
        for hardware in (CPU, BFLOAT16)
    )
    assert not np.array_equal(plain, mixed)
    assert np.linalg.norm(plain - mixed) < 0.03 * np.linalg.norm(plain)


def test_bfloat16_keeps_a_patient_within_the_clipping_norm(patients: Patients, tmp_path: Path) -> None:
    """One lone patient, one step, next to no noise: the step is no longer than the clipping norm allows."""
    terms = small_terms(training={"local_steps": 1, "sampling_rate": 1.0, "learning_rate": 1.0})
    lone = read_data(terms.data, write_patients(tmp_path / "one.csv", 1, "a", seed=3)).patients
    norm = terms.privacy.clipping_norm
    assert norm is not None
    update = train(
        make_first_model(terms),
        terms,
        DeviceRecords(lone, terms, BFLOAT16.device),
        1,
        1e-8,
        BFLOAT16,
        KeyStream(KEY),
    ).update
    assert np.linalg.norm(update) <= norm * (1 + 1e-6)
