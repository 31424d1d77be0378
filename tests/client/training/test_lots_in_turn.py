"""A site's rounds over lots in turn: what leaves is the lots' clipped sums and the matrix's noise, and nothing else."""

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.small_study import make_patients, small_terms
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import Trained, train
from client.training.lots_in_turn import order_lots
from client.training.study_model import make_first_model
from models.parameters.vector import Vector
from privacy.dpsgd import assign_lots
from privacy.errors import TrainingError
from privacy.mechanisms.correlated_noise import BandedNoise, TreesInTurn
from privacy.randomness import KeyStream
from privacy.study import Terms

LOTS, SIGMA, NORM, COUNT, RATE = 4, 1.3, 0.7, 40, 0.5
NAMES = tuple(f"p{number}" for number in range(COUNT))
EMPTY = (np.zeros((0, 5)), np.zeros(0))


def terms(matrix: str = "banded", **training: Any) -> Terms:
    return small_terms(
        training={"local_steps": LOTS, "sampling_rate": 1 / LOTS, "learning_rate": RATE, **training},
        privacy={"placement": "correlated", "correlation": {"matrix": matrix}, "clipping_norm": NORM},
    )


def run(study: Terms, key: bytes, carried: Vector | None = None, patients: int = 0) -> Trained:
    """A round from the first model, by default without a patient: then the update is noise alone."""
    random = np.random.default_rng(1)
    rows = random.uniform(-1, 1, (patients, 5)), random.integers(0, 2, patients)
    records = DeviceRecords(make_patients(*(rows if patients else EMPTY)), study, CPU.device)
    order = order_lots(study, NAMES[:patients], key, carried)
    start = make_first_model(study)
    return train(start, study, records, COUNT, SIGMA, CPU, KeyStream(key), in_turn=order)


def sum_noise(noise: BandedNoise | TreesInTurn, steps: int, scale: float) -> Vector:
    drawn: Vector = np.sum([noise.draw_step() for _ in range(steps)], axis=0)
    return -scale * drawn


@pytest.mark.parametrize("accumulate", [1, 2])
def test_rounds_of_a_site_without_patients_send_the_noise_of_one_matrix(accumulate: int) -> None:
    study, past = terms(accumulate=accumulate, local_steps=LOTS), None
    carried, length = None, len(make_first_model(study))
    for number in range(3):
        key = bytes([number]) * 32
        trained = run(study, key, carried)
        noise = BandedNoise(key, length, SIGMA * NORM, LOTS, past)
        wanted = sum_noise(noise, LOTS * accumulate, RATE * LOTS / COUNT / accumulate)
        np.testing.assert_allclose(trained.update, wanted, atol=1e-6)  # parameters are float32
        carried, past = trained.carried, noise.stack_past()
        assert carried is not None
        np.testing.assert_array_equal(carried, past)  # what is carried on is exact


def test_round_of_trees_sends_their_noise_and_keeps_nothing() -> None:
    study, key = terms("tree", local_steps=2 * LOTS), bytes(32)
    trained = run(study, key)
    noise = TreesInTurn(key, len(make_first_model(study)), SIGMA * NORM, LOTS)
    np.testing.assert_allclose(trained.update, sum_noise(noise, 2 * LOTS, RATE * LOTS / COUNT), atol=1e-6)
    assert trained.carried is None


def test_later_rounds_cancel_what_earlier_ones_left() -> None:
    """Over 8 rounds the noise in the model grows as the matrix says, and far less than with independent noise."""
    study, carried, total = terms(), None, []
    for repeat in range(40):
        carried, model = None, np.zeros(len(make_first_model(study)))
        for number in range(8):
            trained = run(study, bytes([repeat, number]) * 16, carried)
            carried, model = trained.carried, model + trained.update
        total.append(model)
    band = np.array([math.comb(2 * k, k) / 4**k for k in range(LOTS)])
    strategy = sum((each * np.eye(8 * LOTS, k=-k) for k, each in enumerate(band)), np.zeros((8 * LOTS, 8 * LOTS)))
    expected = np.linalg.norm(np.linalg.inv(strategy).sum(0)) * SIGMA * NORM * RATE * LOTS / COUNT
    assert np.std(total) == pytest.approx(expected, rel=0.25)  # of 240 numbers: five deviations
    assert expected < 0.6 * math.sqrt(8 * LOTS) * SIGMA * NORM * RATE * LOTS / COUNT


def test_lots_are_those_of_the_terms_and_identifiers() -> None:
    study = terms()
    order = order_lots(study, NAMES, bytes(32), None)
    np.testing.assert_array_equal(order.lots, assign_lots(NAMES, study.digest, LOTS))
    assert (order.count, order.bands) == (LOTS, LOTS)
    assert "key" not in repr(order)


def test_round_with_patients_repeats_to_the_bit() -> None:
    study = terms()
    first, again = (run(study, bytes(32), patients=COUNT) for _ in range(2))
    assert first.update.tobytes() == again.update.tobytes()
    assert run(study, bytes([1]) * 32, patients=COUNT).update.tobytes() != first.update.tobytes()


def test_noise_of_another_model_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"not of this model: expected past noise of shape \(3, 6\)"):
        run(terms(), bytes(32), np.zeros((3, 7)))


@pytest.mark.parametrize("study", [terms(), small_terms(training={"sampling_rate": 0.25})])
def test_order_of_lots_is_given_exactly_where_noise_is_correlated(study: Terms) -> None:
    order = None if study.privacy.correlation is not None else order_lots(terms(), NAMES, bytes(32), None)
    records = DeviceRecords(make_patients(*EMPTY), study, CPU.device)
    with pytest.raises(ValueError, match="an order of lots exactly where"):
        train(make_first_model(study), study, records, COUNT, SIGMA, CPU, in_turn=order)


def test_two_rounds_that_carry_on_the_same_noise_differ_by_the_fresh_noise_of_both() -> None:
    """What a void round and the one after it show together; with one draw for both nothing would hide it."""
    study, differences = terms(), []
    band = np.array([math.comb(2 * k, k) / 4**k for k in range(LOTS)])
    strategy = sum((each * np.eye(LOTS, k=-k) for k, each in enumerate(band)), np.zeros((LOTS, LOTS)))
    for repeat in range(40):
        carried = run(study, bytes([repeat, 0]) * 16).carried
        void, after = (run(study, bytes([repeat, number]) * 16, carried).update for number in (1, 2))
        differences.append(void - after)
        assert np.array_equal(
            run(study, bytes([repeat, 1]) * 16, carried).update, void
        )  # one draw for both: no noise
    scale = SIGMA * NORM * RATE * LOTS / COUNT
    expected = math.sqrt(2) * np.linalg.norm(np.linalg.inv(strategy).sum(0)) * scale
    assert np.std(differences) == pytest.approx(expected, rel=0.25)  # of 240 numbers: five deviations
