"""Control variates where they matter: sites whose own optima lie apart, and many local steps."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.small_study import make_patients, read_columns, small_terms, without_privacy
from client.data.examples import Patients
from client.study.control_variates import compute_step_length
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import make_loss, train
from client.training.study_model import build_model, make_first_model
from models.federated.server_optimiser import LocalWork, make_optimiser
from models.parameters.flatten import set_shared_parameters
from privacy.dpsgd import DpSgd, Mechanism
from privacy.randomness import KeyStream
from privacy.study import Terms

Vector = NDArray[np.float64]

APART = {"rounds": 20, "local_steps": 25, "sampling_rate": 1.0, "learning_rate": 1.0, "weights": "uniform"}


def hospital(seed: int, slope: float, offset: float) -> Patients:
    """Patients whose first number matters in the one hospital, and whose second one in the other."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(100, 5)).astype(np.float32)
    features[:, 0] += offset
    chance = 1 / (1 + np.exp(-(3 * slope * features[:, 0] + 3 * (1 - slope) * features[:, 1] - offset)))
    labels = random.random(100) < chance
    return make_patients(features, labels)


def loss(model: Vector, hospitals: list[Patients]) -> float:
    """Mean cross-entropy over all, in float64."""
    total = []
    for each in hospitals:
        features, labels = read_columns(each)
        logit = features.astype(np.float64) @ model[:-1] + model[-1]
        total.append(np.logaddexp(0, logit) - logit * labels)
    return float(np.mean(total))


def federated(terms: Terms, hospitals: list[Patients]) -> tuple[Vector, Vector, list[Vector]]:
    """All rounds in real training without sealing; the model, the shared variate (or zeros), the sites' own."""
    optimiser = replace(make_optimiser(terms), control_variates=True)
    shared = optimiser.make_initial_state(make_first_model(terms))
    own = [np.zeros(6) for _ in hospitals]
    for number in range(1, terms.training.rounds + 1):
        model, variate, updates = optimiser.model_of(shared), optimiser.variate_of(shared), []
        work = LocalWork(compute_step_length(terms, number))
        for place, patients in enumerate(hospitals):
            pull = variate - own[place] if terms.training.control_variates else None
            updates.append(
                train(
                    model,
                    terms,
                    DeviceRecords(patients, terms, CPU.device),
                    100,
                    None,
                    CPU,
                    number=number,
                    correction=pull,
                ).update
            )
            own[place] = own[place] - variate - updates[-1] / work.reach
        shared = optimiser.advance(shared, np.mean(updates, axis=0), work)
    return optimiser.model_of(shared), optimiser.variate_of(shared), own


@pytest.fixture(scope="module")
def apart() -> list[Patients]:
    return [hospital(1, 1.0, 1.5), hospital(2, 0.0, -1.5)]


@pytest.fixture(scope="module")
def least(apart: list[Patients]) -> float:
    """The least loss there is, by Newton's method on the pooled patients."""
    columns = [read_columns(each) for each in apart]
    features = np.hstack([np.vstack([each for each, _ in columns]).astype(np.float64), np.ones((200, 1))])
    labels = np.concatenate([each for _, each in columns])
    model = np.zeros(6)
    for _ in range(30):
        chance = 1 / (1 + np.exp(-(features @ model)))
        curvature = features.T @ (features * (chance * (1 - chance))[:, None])
        model -= np.linalg.solve(curvature, features.T @ (chance - labels))
    return loss(model, apart)


def test_sites_that_pull_apart_reach_a_lower_loss_with_control_variates(
    apart: list[Patients], least: float
) -> None:
    """FedAvg's many local steps drift to each site's own optimum, and it stays short of everybody's for ever."""
    averaged, _, _ = federated(without_privacy(training=APART), apart)
    corrected, _, _ = federated(without_privacy(training=APART | {"control_variates": True}), apart)
    assert loss(averaged, apart) - least > 0.1
    assert loss(corrected, apart) - least < 1e-5


def test_own_variates_become_the_gradients_of_the_sites_at_the_optimum(apart: list[Patients]) -> None:
    """There they cancel, so that no site moves away from it; and their mean is the shared one."""
    _, variate, own = federated(without_privacy(training=APART | {"control_variates": True}), apart)
    np.testing.assert_allclose(np.mean(own, axis=0), variate, atol=1e-6)
    assert np.linalg.norm(variate) < 0.01 * np.linalg.norm(own[0])


@pytest.mark.parametrize("accumulate", [1, 3])
def test_own_variate_is_the_mean_of_the_noised_gradients(apart: list[Patients], accumulate: int) -> None:
    """Of these and nothing else, whatever the correction was: so it is post-processing of what was paid."""
    training = {"local_steps": 4, "learning_rate": 0.25, "accumulate": accumulate, "control_variates": True}
    terms = small_terms(training=training)
    start, pull = make_first_model(terms), np.array([1.0, -2.0, 0.5, 0.0, 3.0, -1.0])
    update = train(
        start,
        terms,
        DeviceRecords(apart[0], terms, CPU.device),
        100,
        1.5,
        CPU,
        KeyStream(bytes(32)),
        correction=pull,
    ).update

    module = build_model(terms)
    private = DpSgd(module, make_loss(terms), Mechanism(0.5, 100, 1.0, 1.5), KeyStream(bytes(32)))
    records, model, noised = DeviceRecords(apart[0], terms, CPU.device), start, []
    for _ in range(4):
        set_shared_parameters(module, model)
        lots = [private.compute_gradient(records).double().numpy() for _ in range(accumulate)]
        noised.append(np.mean(lots, axis=0))
        model = model - 0.25 * (noised[-1] + pull)
    np.testing.assert_allclose(-pull - update / compute_step_length(terms, 1), np.mean(noised, axis=0), atol=1e-5)


def test_noise_in_variates_makes_updates_larger_and_cancels_in_the_sum(apart: list[Patients]) -> None:
    """Nobody is drawn: an update has its own noise and, through c - c_i, that of its site's last round.

    With N sites of K steps the second is 1 - 1/N times the first in variance; over a whole cohort it adds up to none.
    """
    training = {"local_steps": 4, "sampling_rate": 1e-9, "learning_rate": 0.5, "control_variates": True}
    terms = small_terms(model={"name": "mlp", "options": {"hidden": [500]}}, training=training)
    start, sites, reach = make_first_model(terms), 4, compute_step_length(terms, 1)
    pulls, updates = [np.zeros_like(start)] * sites, np.zeros((sites, len(start)))
    spread = []
    for number in (1, 2):
        for site in range(sites):
            key = bytes([number, site] * 16)
            updates[site] = train(
                start,
                terms,
                DeviceRecords(apart[0], terms, CPU.device),
                10,
                1e-9,
                CPU,
                KeyStream(key),
                correction=pulls[site],
            ).update
        spread.append((updates.std(), updates.mean(axis=0).std()))
        own = -np.array(pulls) - updates / reach
        pulls = list(own.mean(axis=0) - own)
    assert spread[1][0] / spread[0][0] == pytest.approx(np.sqrt(2 - 1 / sites), rel=0.05)
    assert spread[1][1] / spread[0][1] == pytest.approx(1, rel=0.05)
