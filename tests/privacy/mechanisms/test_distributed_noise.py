"""Shares of distributed noise: their sum is the promised noise, and nothing of a patient survives beyond it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy.accounting.epsilon import compute_charge
from privacy.accounting.events import DistributedGaussian, SampledGaussian
from privacy.mechanisms.distributed_noise import (
    LEAST_VARIANCE,
    SharedNoise,
    add_noise_to_share,
    count_values_at_edge,
    decode_opened_sum,
    make_noised_share,
)
from privacy.randomness import KeyStream, from_os

NOISE = SharedNoise(clipping_norm=0.5, noise_multiplier=2.0, parameters=400, bits=16, value_range=40.0, colluders=1)


def test_sensitivity_counts_the_rounding() -> None:
    assert NOISE.unit == 2 * 40 * 0.5 / 65536
    assert NOISE.sensitivity == pytest.approx(0.5 / NOISE.unit + 20)
    assert NOISE.inflation == pytest.approx(1 + 20 * NOISE.unit / 0.5)


@pytest.mark.parametrize(
    ("bits", "parameters", "inflation"), [(16, 10**5, 1.31), (16, 10**6, 1.98), (20, 10**6, 1.06)]
)
def test_inflation_is_the_known_one(bits: int, parameters: int, inflation: float) -> None:
    """Range +-8 sigma C at sigma 4, computed for the protocol's review."""
    noise = SharedNoise(1.0, 4.0, parameters, bits, value_range=32.0, colluders=1)
    assert noise.inflation == pytest.approx(inflation, abs=0.006)


@pytest.mark.parametrize("cohort", [3, 4, 10])
def test_shares_of_the_honest_add_up_to_the_promised_noise(cohort: int) -> None:
    honest = cohort - NOISE.colluders
    promised = (NOISE.noise_multiplier * NOISE.sensitivity) ** 2
    assert promised <= honest * NOISE.compute_share_variance(cohort) <= promised + honest
    assert NOISE.compute_outsider_multiplier(cohort) == pytest.approx(2.0 * math.sqrt(cohort / honest))


def test_cohort_of_colluders_and_one_more_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 sites"):
        NOISE.compute_share_variance(2)


def test_opened_sum_has_the_signal_and_the_noise_that_were_promised() -> None:
    """Measured on the opened sum of four sites, two draws of 40,000 coordinates."""
    noise = SharedNoise(0.5, 2.0, 40_000, 20, 40.0, 1)
    signal = [np.sin(np.arange(40_000) * (site + 1)) for site in range(4)]
    variance = noise.compute_share_variance(4)
    total = sum(make_noised_share(each, noise, variance, from_os()).astype(np.int64) for each in signal)
    error = (decode_opened_sum(np.asarray(total), noise) - sum(signal)) / noise.unit
    assert abs(error.mean()) < 5 * error.std() / 200
    assert error.var() == pytest.approx(4 * variance + 4 / 6, rel=0.05)  # a dithered rounding adds 1/12 to 1/4 each


def test_topped_up_share_has_the_larger_variance() -> None:
    noise = SharedNoise(0.5, 2.0, 40_000, 20, 40.0, 1)
    first = make_noised_share(np.zeros(40_000), noise, noise.compute_share_variance(5), from_os())
    more = noise.compute_share_variance(3) - noise.compute_share_variance(5)
    again = (
        decode_opened_sum(add_noise_to_share(first, noise, more, from_os()).astype(np.int64), noise) / noise.unit
    )
    assert again.var() == pytest.approx(noise.compute_share_variance(3), rel=0.05)
    assert more >= LEAST_VARIANCE


@settings(max_examples=200)
@given(st.integers(8, 24), st.integers(3, 64), st.data())
def test_wrapping_commutes_with_the_sum(bits: int, sites: int, data: st.DataObject) -> None:
    noise = SharedNoise(1.0, 1.0, 3, bits, 10.0, 1)
    half = 1 << (bits - 1)
    values = np.array(
        [[data.draw(st.integers(-(2**40), 2**40)) for _ in range(3)] for _ in range(min(sites, 5))], dtype=np.int64
    )
    wrapped = (values & ((1 << bits) - 1)).sum(axis=0)
    exact = (values.sum(axis=0) + half) % (1 << bits) - half
    np.testing.assert_array_equal(decode_opened_sum(wrapped, noise) / noise.unit, exact)


def test_one_patient_moves_the_rounded_sum_by_at_most_the_sensitivity() -> None:
    """With the same dither: a patient's gradient of norm C, added to random sums."""
    random = np.random.default_rng(5)
    for _ in range(200):
        total = random.normal(size=400) * 3
        patient = random.normal(size=400)
        patient *= NOISE.clipping_norm / np.linalg.norm(patient)
        dither = random.uniform(size=400)
        moved = np.floor((total + patient) / NOISE.unit + dither) - np.floor(total / NOISE.unit + dither)
        assert np.linalg.norm(moved) <= NOISE.sensitivity


def test_same_key_gives_the_same_share() -> None:
    total = np.linspace(-1, 1, 50)
    one, other = (make_noised_share(total, NOISE, 100, KeyStream(bytes(32))) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_problems_are_named() -> None:
    assert NOISE.describe_problem(4) is None
    assert "sums would wrap around" in str(SharedNoise(1.0, 8.0, 100, 16, 10.0, 1).describe_problem(4))
    coarse = SharedNoise(1.0, 1.0, 4, 8, 100.0, 1)
    assert "use more secure_aggregation.bits" in str(coarse.describe_problem(64))


def test_charge_is_the_central_mechanisms() -> None:
    shared = DistributedGaussian(noise_multiplier=1.3, sampling_rate=0.05, steps=20, colluders=2)
    central = SampledGaussian(noise_multiplier=1.3, sampling_rate=0.05, steps=20)
    for order in (2, 8, 64):
        assert 0 <= compute_charge(shared, order) - compute_charge(central, order) <= 1


def summed(noise: SharedNoise, signal: NDArray[np.float64], cohort: int) -> NDArray[np.int64]:
    """The integers that a cohort's shares of ``signal`` add up to."""
    variance = noise.compute_share_variance(cohort)
    total = make_noised_share(signal, noise, variance, from_os()).astype(np.int64)
    for _ in range(cohort - 1):
        total += make_noised_share(np.zeros_like(signal), noise, variance, from_os())
    return total


def test_range_that_fits_is_named_and_holds() -> None:
    """The range that a refused one is told to be: refused no more, and the largest sum comes back unwrapped."""
    small = SharedNoise(1.0, 3.0, 500, 24, 128.0, 1, largest_sum=4000.0, usual_sum=3640.0, minimum=3)
    said = str(small.describe_problem(4))
    assert (
        "secure_aggregation.value_range is 128 clipping norms, the noise and the sum need 4030: sums would wrap"
        in said
    )
    named = float(said.rsplit(" ", 1)[1])
    fitting = SharedNoise(1.0, 3.0, 500, 24, named, 1, largest_sum=4000.0, usual_sum=3640.0, minimum=3)
    assert fitting.describe_problem(4) is None
    assert fitting.value_range >= fitting.needed_range
    assert small.fit_range() == fitting
    signal = np.full(500, -4000.0)
    error = decode_opened_sum(summed(fitting, signal, 3), fitting) - signal
    assert np.abs(error).max() < 8 * 3.0 * fitting.inflation * math.sqrt(3 / 2)


def test_bits_that_ruin_the_noise_are_refused_with_those_to_write() -> None:
    """At 16 bits the grid of a sum of 4,000 clipping norms makes the noise more than three times as large."""
    coarse = SharedNoise(1.0, 3.0, 500, 16, 1.0, 1, largest_sum=4000.0, usual_sum=3640.0).fit_range()
    said = str(coarse.describe_problem(4))
    assert "rounding to secure_aggregation.bits 16" in said
    finer = SharedNoise(1.0, 3.0, 500, int(said.rsplit(" ", 1)[1]), coarse.value_range, 1, 4000.0, 3640.0)
    assert finer.describe_problem(4) is None
    assert 1 < finer.inflation < 1.02


def test_bits_that_no_number_makes_enough_are_said_to_be_so() -> None:
    hopeless = SharedNoise(1.0, 50.0, 10**9, 24, 1.0, 1).fit_range()
    assert "no secure_aggregation.bits are enough" in str(hopeless.describe_problem(4))


@pytest.mark.parametrize("cohort", [3, 8])
@pytest.mark.parametrize("parameters", [6, 20_000])
def test_largest_sum_in_a_range_that_fits_has_no_value_at_its_edge(parameters: int, cohort: int) -> None:
    """Every gradient in one coordinate, and as much in all others as cannot be; 20 draws a case."""
    noise = SharedNoise(0.5, 2.0, parameters, 24, 1.0, 1, largest_sum=300.0, usual_sum=250.0, minimum=3).fit_range()
    signal = np.full(parameters, 300 * 0.5)
    marks = [count_values_at_edge(summed(noise, signal, cohort), noise, cohort) for _ in range(20)]
    assert not any(marks)


@pytest.mark.parametrize("parameters", [1, 6, 500, 10**5])
def test_chance_of_a_false_mark_is_at_most_one_in_a_million(parameters: int) -> None:
    """Where the edge begins, by bisection; how likely noise on the largest sum reaches it, by the error function."""
    noise = SharedNoise(1.0, 2.0, parameters, 24, 1.0, 1, largest_sum=50.0, minimum=3).fit_range()
    total = np.zeros(parameters, dtype=np.int64)
    below, edge = 0, 1 << 23
    while edge - below > 1:
        total[0] = (below + edge) // 2
        if count_values_at_edge(total, noise, 3):
            edge = int(total[0])
        else:
            below = int(total[0])
    deviation = math.sqrt(3 * noise.compute_share_variance(3))
    needed = (edge - 50.0 / noise.unit) / deviation
    assert parameters * math.erfc(needed / math.sqrt(2)) <= 1.001e-6


def test_sum_that_wraps_has_values_at_the_edge() -> None:
    """As SUPPORT2's: a range that holds the noise, not the sum. 40 coordinates, spread over thrice the range."""
    noise = SharedNoise(1.0, 3.0, 40, 20, 64.0, 1, largest_sum=400.0, usual_sum=364.0, minimum=3)
    found = [
        count_values_at_edge(summed(noise, np.random.default_rng(seed).normal(0, 190, 40), 4), noise, 4)
        for seed in range(20)
    ]
    assert np.mean([each > 0 for each in found]) > 0.9
