"""What privacy systems leave of a model: ways of ``benchmarks/privacy_systems_accuracy.py``, against oracles."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.ckks import PRACTICE, Adder
from benchmarks.privacy_systems_accuracy import ROWS, measure_ways
from benchmarks.privacy_systems_noise import (
    compute_gradients,
    find_banded_noise,
    find_tree_noise,
    list_totals,
    train_in_order,
    train_with_filters,
)
from benchmarks.privacy_systems_studies import DELTA, EPSILON, Hospital, compute_losses, score, train_locally
from benchmarks.privacy_systems_sums import add_batches, train_in_turns
from benchmarks.privacy_systems_sums import measure as measure_sums
from benchmarks.shared_parameters import take_mean, train_together
from models.parameters.flatten import set_shared_parameters
from privacy.accounting.analytic_gaussian import compute_analytic_noise
from privacy.dpsgd import DpSgd, Mechanism
from privacy.randomness import KeyStream
from tests.privacy.mechanisms.trained_federation import make_generated_federation

KEY = b"a key of 32 bytes, for tests now"


def test_sums_as_encryptions_open_them_give_the_model_of_plain_sums() -> None:
    made = make_generated_federation(1)
    plain = score(made, train_together(made, made.start, 6, take_mean))
    found = measure_sums(made, seed=1, rounds=6)
    assert plain > 0.7
    assert {way: round(accuracy - plain, 2) for way, accuracy in found.items() if way != "phong"} == {
        "integers": 0,
        "ckks": 0,
        "batchcrypt": 0,
    }


def test_every_row_of_the_table_is_measured() -> None:
    found = measure_ways(make_generated_federation(1), seed=1, rounds=1)
    assert list(found) == list(ROWS)
    assert all(0 <= accuracy <= 1 for accuracy in found.values())


def test_ckks_opens_the_sum_nearly() -> None:
    random = np.random.default_rng(1)
    updates = [random.standard_normal(5000) for _ in range(3)]
    opened = Adder(PRACTICE).add(updates)
    assert 0 < np.abs(opened - sum(updates)).max() < 1e-5


def test_turns_in_integers_of_32_bits_are_turns_in_floats() -> None:
    made = make_generated_federation(1)
    model = made.start
    for _ in range(3):
        for each in made.hospitals:
            model = train_locally(made, model, each, 1, made.rate / len(made.hospitals))
    np.testing.assert_allclose(train_in_turns(made, made.start, 3), model, atol=1e-6)


def test_batches_open_the_mean_but_for_what_is_cut_and_rounded() -> None:
    random = np.random.default_rng(1)
    updates = [random.standard_normal(600) for _ in range(5)]
    opened = add_batches(updates, [599, 1], KeyStream(KEY))
    # five shares of 127 steps up to alpha, which is about four deviations: a step is 0.16, and a mean is off by less
    assert np.abs(opened - np.mean(updates, axis=0)).max() < 0.5
    assert np.abs(opened - np.mean(updates, axis=0)).mean() < 0.1


def test_layer_that_is_equal_everywhere_has_no_range_and_stays() -> None:
    np.testing.assert_array_equal(add_batches([np.full(4, 0.25)] * 3, [4], KeyStream(KEY)), np.full(4, 0.25))


def test_gradients_of_patients_are_those_that_the_engine_sums() -> None:
    made = make_generated_federation(1)
    hospital = made.hospitals[0]
    set_shared_parameters(made.network, made.start)
    rows = compute_gradients(made.network, hospital)
    clipped = rows / np.maximum(1.0, np.linalg.norm(rows, axis=1))[:, None]
    engine = DpSgd(made.network, compute_losses, Mechanism(1.0, 100, 1.0, 0.0), KeyStream(KEY))
    summed = engine.sum_lot(hospital.records, np.arange(100)).numpy()
    np.testing.assert_allclose(
        clipped.sum(0), summed, rtol=2e-4, atol=1e-3
    )  # the engine clips to a little below the norm


def test_noise_in_a_fixed_order_costs_what_the_others_may() -> None:
    totals = list_totals(40)
    assert totals["tree"] == pytest.approx(EPSILON, abs=1e-6) == totals["banded"]
    assert find_banded_noise(200) < find_tree_noise(200)  # at one price


def test_step_in_a_fixed_order_takes_the_lot_whose_turn_it_is() -> None:
    """Without noise, eight steps at rate 0 + one see every patient once: against a loop over the rows."""
    made = make_generated_federation(1)
    only = replace(made, hospitals=made.hospitals[:1])
    hospital = only.hospitals[0]
    model = train_in_order(only, only.start, 2, [lambda _: np.zeros(len(only.start))])
    expected = only.start
    for lot in range(2):
        set_shared_parameters(only.network, expected)
        rows = compute_gradients(only.network, Hospital(hospital.inputs[lot::8], hospital.labels[lot::8]))
        rows /= np.maximum(1.0, np.linalg.norm(rows, axis=1))[:, None]
        expected = expected - only.rate * rows.sum(0) * 8 / 100
    np.testing.assert_allclose(model, expected, atol=1e-6)


def test_filters_admit_who_has_not_spent_ten_whole_gradients() -> None:
    """Twenty steps with the noise of ten: at any order a step costs the square of a gradient's length in 64ths."""
    made = make_generated_federation(1)
    only = replace(made, hospitals=made.hospitals[:1], rate=1.0)
    noise, stream = compute_analytic_noise(EPSILON, DELTA, 10), KeyStream(KEY)
    spent, model, left = np.zeros(100), only.start, list[int]()
    for _ in range(20):
        set_shared_parameters(only.network, model)
        rows = compute_gradients(only.network, only.hospitals[0])
        lengths = np.linalg.norm(rows, axis=1)
        costs = (np.ceil(np.minimum(1.0, lengths) * 64) / 64) ** 2
        admitted = spent + costs <= 10 + 1e-9
        spent[admitted] += costs[admitted]
        left.append(int(admitted.sum()))
        total = (rows / np.maximum(1.0, lengths)[:, None])[admitted].sum(0) + noise * stream.draw_normal(len(model))
        model = model - only.rate * total / 100
    assert left[:10] == [100] * 10
    assert 0 < left[-1] < 100
    np.testing.assert_allclose(train_with_filters(only, only.start, 20, KeyStream(KEY)), model, atol=1e-6)
