"""Directions of local steps: Adam against torch's, against a loop where there is noise, and within its bound."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.small_study import read_columns, small_terms, without_privacy, write_patients
from client.data.site_data import read_data
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import train
from client.training.step_rules import AdamDirections, make_directions
from client.training.study_model import build_model, make_first_model
from models.parameters.flatten import read_shared_parameters, set_shared_parameters
from privacy.dpsgd import Mechanism
from privacy.errors import TermsError
from privacy.secure_aggregation.round_layout import compute_update_range
from privacy.study import Step, StepRule, Terms
from privacy.study.cost import compute_study_noise

ADAM = {"rule": "adam"}


def adam_terms(**step: Any) -> Terms:
    training = {"rounds": 2, "local_steps": 6, "sampling_rate": 0.5, "learning_rate": 0.05, "step": ADAM | step}
    return small_terms(training=training, secure_aggregation={"value_range": "auto"})


def read_records(terms: Terms, folder: Path) -> DeviceRecords:
    path = write_patients(folder / "t.csv", 60, "p")
    return DeviceRecords(read_data(terms.data, path).patients, terms, CPU.device)


def test_adam_without_privacy_on_everybody_is_torchs(tmp_path: Path) -> None:
    training = {"rounds": 2, "local_steps": 8, "sampling_rate": 1.0, "learning_rate": 0.05, "step": ADAM}
    terms = without_privacy(training=training)
    path = write_patients(tmp_path / "t.csv", 40, "p")
    patients = read_data(terms.data, path).patients
    start = make_first_model(terms)
    got = train(start, terms, DeviceRecords(patients, terms, CPU.device), 40, None, CPU).update

    module = build_model(terms)
    set_shared_parameters(module, start)
    begin = read_shared_parameters(module)
    features, labels = read_columns(patients)
    adam = torch.optim.Adam(module.parameters(), lr=0.05, betas=(0.9, 0.99))
    for _ in range(8):
        adam.zero_grad()
        logits = module({"features": torch.from_numpy(features)})
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels).float())
        torch.autograd.backward(losses)
        adam.step()
    np.testing.assert_allclose(got, read_shared_parameters(module) - begin, atol=2e-5)


def test_adam_with_noise_takes_its_variance_off_and_keeps_the_floor() -> None:
    """The equations one number at a time; gradients of 0.1 lie below the noise of 1, those of 5 above."""
    step, noise = Step(rule=StepRule.ADAM, beta1=0.8, beta2=0.95, floor=0.25), 1.0
    rows = [[0.1, 5.0], [-0.1, 4.0], [0.2, 6.0]]
    directions = AdamDirections(step, noise)
    got = [directions.direct(torch.tensor(row, dtype=torch.float64)).tolist() for row in rows]
    for place in range(2):
        first = second = 0.0
        for number, row in enumerate(rows, start=1):
            gradient = row[place]
            first, second = 0.8 * first + 0.2 * gradient, 0.95 * second + 0.05 * gradient**2
            left = max(second / (1 - 0.95**number) - 1.0, 0.25)
            expected = first / (1 - 0.8**number) / (math.sqrt(left) + 1e-8)
            assert got[number - 1][place] == pytest.approx(expected, rel=1e-9)


@given(
    gradients=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
    betas=st.tuples(st.floats(0, 0.99), st.floats(0.01, 0.999)).filter(lambda pair: pair[0] ** 2 < 0.999 * pair[1]),
    floor=st.floats(0.001, 100),
    noise=st.sampled_from([0.0, 1e-3, 1.0, 1e3]),
)
def test_no_direction_is_longer_than_its_bound(
    gradients: list[float], betas: tuple[float, float], floor: float, noise: float
) -> None:
    step = Step(rule=StepRule.ADAM, beta1=betas[0], beta2=betas[1], floor=floor)
    most = step.bound_direction(noisy=noise > 0)
    assert most is not None
    directions = AdamDirections(step, noise)
    for gradient in gradients:
        assert abs(directions.direct(torch.tensor([gradient], dtype=torch.float64)).item()) <= most * (1 + 1e-6)


def test_noise_that_is_taken_off_is_that_of_a_step() -> None:
    """A first gradient of twice the noise has the direction 2 / sqrt(3): sigma C / (q n) over the root of the lots."""
    training = adam_terms().training.model_copy(update={"accumulate": 4})
    noise = 3.0 * 2.0 / (0.5 * 60) / 2
    found = make_directions(training, Mechanism(0.5, 60, 2.0, 3.0)).direct(torch.tensor([2 * noise]))
    assert found.item() == pytest.approx(2 / math.sqrt(3), rel=1e-5)
    plain = training.model_copy(update={"step": Step()})
    assert make_directions(plain, Mechanism(0.5, 60, 2.0, 3.0)).direct(torch.tensor([7.0])).item() == 7


def test_private_update_fits_into_the_range_of_the_terms(tmp_path: Path) -> None:
    terms = adam_terms()
    noise = compute_study_noise(terms)
    update = train(make_first_model(terms), terms, read_records(terms, tmp_path), 60, noise, CPU).update
    most = compute_update_range(terms, noise)
    assert 0 < np.abs(update).max() <= most
    # six steps of 0.05, each at most 2.35 sqrt(1 + 1/0.1) long
    assert most == pytest.approx(6 * 0.05 * 0.1 / math.sqrt(0.01 * (1 - 0.81 / 0.99)) * math.sqrt(11), rel=0.05)


def test_terms_without_a_rule_have_the_digest_of_plain_steps() -> None:
    training = {"rounds": 2, "local_steps": 6, "sampling_rate": 0.5, "learning_rate": 0.05}
    plain = small_terms(training=training)
    assert small_terms(training=training | {"step": {"rule": "plain"}}).digest == plain.digest
    assert adam_terms().digest != adam_terms(floor=0.5).digest  # what is written counts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"step": ADAM | {"beta1": 0.9, "beta2": 0.5}}}, "the square of beta1 must be below beta2"),
        ({"training": {"step": ADAM, "control_variates": True}}, "control_variates follow from plain steps"),
        (
            {"training": {"step": ADAM, "local_steps": 1}, "privacy": {"placement": "distributed"}},
            r"training\.step: with distributed noise there are no local steps",
        ),
    ],
)
def test_terms_whose_steps_cannot_be_adams_are_refused(changes: dict[str, Any], message: str) -> None:
    training = {"rounds": 2, "local_steps": 6, "sampling_rate": 0.5, "learning_rate": 0.05}
    privacy = {"epsilon": 3, "delta": 1e-3, "clipping_norm": 1.0}
    with pytest.raises(TermsError, match=message):
        small_terms(
            training=training | changes["training"],
            privacy=privacy | changes.get("privacy", {}),
            cohort={"minimum": 3, "maximum": 8, "colluders": 1},
        )
