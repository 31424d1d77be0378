"""How large values become: bounds from public numbers, against exact distributions and real samples."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.mechanisms.value_range import (
    compute_most_drawn,
    compute_range_of_sums,
    compute_range_of_updates,
    count_most_patients,
    round_up,
)


def beyond(rate: float, patients: int, most: float) -> Decimal:
    """The exact chance that a Poisson sample is larger than ``most``: the binomial tail, in 60 digits."""
    with localcontext() as context:
        context.prec = 60
        chance, other, total = Decimal(rate), 1 - Decimal(rate), Decimal(0)
        for drawn in range(math.floor(most) + 1, patients + 1):
            total += math.comb(patients, drawn) * chance**drawn * other ** (patients - drawn)
        return total


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("patients", [10, 60, 340, 2000])
def test_largest_lot_is_left_behind_less_often_than_it_says(rate: float, patients: int) -> None:
    assert beyond(rate, patients, compute_most_drawn(rate, patients)) < Decimal(2) ** -50


def test_largest_lot_of_everybody_is_everybody() -> None:
    assert compute_most_drawn(1.0, 70) == 70
    assert compute_most_drawn(0.5, 0) == 0


def test_public_counts_hide_up_to_ten_patients_each() -> None:
    assert count_most_patients([60, 70]) == 150
    assert count_most_patients([]) == 0


@settings(max_examples=200)
@given(st.floats(0, 1e5), st.floats(0.3, 200), st.integers(1, 10**7), st.integers(8, 24))
def test_range_of_sums_holds_the_noise_that_it_makes_itself(
    largest: float, noise: float, parameters: int, bits: int
) -> None:
    """The equation it solves, written out: a wider range is a coarser grid, and a coarser grid is more noise."""
    found = compute_range_of_sums(largest, noise, parameters, bits)
    if math.isinf(found):
        assert 8 * noise * 2 * math.sqrt(parameters) >= (1 << bits) * (1 - 1e-12)
    else:
        inflation = 1 + 2 * found * math.sqrt(parameters) / (1 << bits)
        assert found == pytest.approx(largest + 8 * noise * inflation, rel=1e-6)


@settings(max_examples=300)
@given(st.floats(1e-6, 1e9))
def test_rounding_up_keeps_two_digits_and_loses_nothing(value: float) -> None:
    found = round_up(value)
    assert value * (1 - 1e-8) <= found <= 1.1 * value + 1e-12
    assert float(f"{found:.1e}") == found


@given(st.floats(1e-3, 1e6))
def test_rounding_up_is_the_same_on_machines_that_differ_in_the_last_bit(value: float) -> None:
    rounded = round_up(value)
    assert round_up(math.nextafter(rounded, 0)) == round_up(math.nextafter(rounded, math.inf)) == rounded


@pytest.mark.parametrize(("noise", "corrected"), [(1.0, False), (30.0, False), (None, True), (4.0, True)])
def test_range_of_updates_holds_the_steps_of_the_smallest_site(noise: float | None, corrected: bool) -> None:
    """A site of 50 patients whose gradients all point along one coordinate, with its noise; 2,000 of its rounds."""
    random, rate, steps, lots = np.random.default_rng(3), 0.2, 6, 2
    held = compute_range_of_updates(
        learning_rate=0.5,
        steps=steps,
        lots=lots,
        sampling_rate=rate,
        norm=None if noise is None else 1.5,
        noise_multiplier=noise,
        corrected=corrected,
    )
    norm = 10.0 if noise is None else 1.5
    drawn = random.binomial(50, rate, size=(2000, steps, lots)) * norm
    drawn = drawn + random.normal(size=drawn.shape) * (0 if noise is None else noise * norm)
    gradients = drawn.mean(axis=2) / (rate * 50)
    update = 0.5 * gradients.sum(axis=1)
    assert np.abs(update).max() < held < 40 * np.abs(update).max()
