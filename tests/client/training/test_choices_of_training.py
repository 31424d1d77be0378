"""Weight decay, augmentation and views, as a site's local training does them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from client.data.examples import Patients
from client.data.site_data import read_data
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import make_loss, train
from client.training.study_model import begin_model
from models.generated.study import write_generated_study
from models.parameters.flatten import read_shared_parameters, set_shared_parameters
from privacy.randomness import KeyStream
from privacy.study import Terms, parse_terms
from tests.models.generated_studies import write_generated_files

KEY = b"a key of 32 bytes, for tests now"


def study(name: str, **training: Any) -> Terms:
    """Two plain steps over all patients, without privacy."""
    value = write_generated_study(name)
    plain = {"rounds": 1, "local_steps": 2, "sampling_rate": 1.0, "learning_rate": 0.1}
    value |= {"privacy": {"epsilon": "none"}, "evaluation": {}, "training": plain | training}
    return parse_terms(value)


def patients_of(folder: Path, terms: Terms) -> Patients:
    train_file, _ = write_generated_files(folder, terms, 1, patients=20)
    return read_data(terms.data, train_file).patients


def first_model(terms: Terms) -> NDArray[np.float64]:
    """The same first model for terms that differ in training alone."""
    module, _ = begin_model(terms)
    return np.random.default_rng(0).normal(0, 0.3, len(read_shared_parameters(module)))


def trained(terms: Terms, patients: Patients, key: bytes = KEY) -> NDArray[np.float64]:
    records = DeviceRecords(patients, terms, CPU.device)
    return train(first_model(terms), terms, records, 20, None, CPU, KeyStream(key)).update


def test_weight_decay_equals_plain_gradient_descent_with_it(tmp_path: Path) -> None:
    terms = study("mlp", weight_decay=0.4)
    patients = patients_of(tmp_path, terms)
    records = DeviceRecords(patients, terms, CPU.device)
    module, _ = begin_model(terms)
    set_shared_parameters(module, first_model(terms))
    inputs, targets = records.select(np.arange(20))
    for _ in range(2):
        module.zero_grad()
        torch.autograd.backward(make_loss(terms)(module(inputs), targets).sum() / 20)
        with torch.no_grad():
            for value in module.parameters():
                assert value.grad is not None
                value.sub_(0.1 * (value.grad + 0.4 * value))
    want = read_shared_parameters(module) - first_model(terms)
    np.testing.assert_allclose(trained(terms, patients), want, atol=1e-6)


@pytest.mark.parametrize("views", [1, 3])
def test_augmented_training_equals_training_on_records_that_were_varied_before(views: int, tmp_path: Path) -> None:
    """A mirror that is always applied has one outcome, so views do not differ; masks follow their images."""
    flip = {"steps": [{"kind": "flip", "tensors": ["image", "mask"], "axis": "width", "chance": 1.0}]}
    plain = study("unet", local_steps=1)
    augmented = study("unet", local_steps=1, augmentation=flip, views=views)
    patients = patients_of(tmp_path, plain)
    found = trained(augmented, patients)
    mirrored = replace(
        patients,
        inputs={"image": patients.inputs["image"][:][..., ::-1].copy()},
        targets={"mask": patients.targets["mask"][:][..., ::-1].copy()},
    )
    halved = [trained(plain, each) for each in (patients, mirrored)]
    distance = [float(np.linalg.norm(found - each)) for each in halved]
    assert distance[1] <= 1e-4 * float(np.linalg.norm(halved[1])) < distance[0]


def test_views_of_noisy_records_draw_from_the_secret_stream(tmp_path: Path) -> None:
    noise = {"steps": [{"kind": "noise", "tensors": ["image"], "deviation": 0.2}]}
    terms = study("chest-xray-cnn", local_steps=1, augmentation=noise, views=2)
    patients = patients_of(tmp_path, terms)
    first, again = trained(terms, patients), trained(terms, patients)
    assert first.tobytes() == again.tobytes()
    assert trained(terms, patients, KEY[::-1]).tobytes() != first.tobytes()


def test_private_study_with_augmentation_passes_its_self_test(tmp_path: Path) -> None:
    """The engine's self-test runs with the study's own augmentation, before anything is trained."""
    steps = [
        {"kind": "rotate", "tensors": ["image", "mask"], "degrees": 15},
        {"kind": "noise", "tensors": ["image"], "deviation": 0.1},
    ]
    value = write_generated_study("unet")
    value["training"] |= {"rounds": 1, "local_steps": 1, "augmentation": {"steps": steps}, "views": 2}
    value["evaluation"] = {}
    terms = parse_terms(value)
    records = DeviceRecords(patients_of(tmp_path, terms), terms, CPU.device)
    update = train(first_model(terms), terms, records, 20, 1.0, CPU, KeyStream(KEY)).update
    assert np.isfinite(update).all()
