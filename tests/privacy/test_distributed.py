"""Shares of distributed noise: their sum is the promised noise, and nothing of a patient survives beyond it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accountant import DistributedGaussian, SampledGaussian, charge
from privacy.distributed import LEAST_VARIANCE, SharedNoise, opened_sum, share, topped_up
from privacy.stream import Stream, from_os

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
    assert promised <= honest * NOISE.share_variance(cohort) <= promised + honest
    assert NOISE.outsider_multiplier(cohort) == pytest.approx(2.0 * math.sqrt(cohort / honest))


def test_cohort_of_colluders_and_one_more_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 sites"):
        NOISE.share_variance(2)


def test_opened_sum_has_the_signal_and_the_noise_that_were_promised() -> None:
    """Measured on the opened sum of four sites, two draws of 40,000 coordinates."""
    noise = SharedNoise(0.5, 2.0, 40_000, 20, 40.0, 1)
    signal = [np.sin(np.arange(40_000) * (site + 1)) for site in range(4)]
    variance = noise.share_variance(4)
    total = sum(share(each, noise, variance, from_os()).astype(np.int64) for each in signal)
    error = (opened_sum(np.asarray(total), noise) - sum(signal)) / noise.unit
    assert abs(error.mean()) < 5 * error.std() / 200
    assert error.var() == pytest.approx(4 * variance + 4 / 6, rel=0.05)  # a dithered rounding adds 1/12 to 1/4 each


def test_topped_up_share_has_the_larger_variance() -> None:
    noise = SharedNoise(0.5, 2.0, 40_000, 20, 40.0, 1)
    first = share(np.zeros(40_000), noise, noise.share_variance(5), from_os())
    more = noise.share_variance(3) - noise.share_variance(5)
    again = opened_sum(topped_up(first, noise, more, from_os()).astype(np.int64), noise) / noise.unit
    assert again.var() == pytest.approx(noise.share_variance(3), rel=0.05)
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
    np.testing.assert_array_equal(opened_sum(wrapped, noise) / noise.unit, exact)


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
    one, other = (share(total, NOISE, 100, Stream(bytes(32))) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_problems_are_named() -> None:
    assert NOISE.problem(4) is None
    assert "sums would wrap around" in str(SharedNoise(1.0, 8.0, 100, 16, 10.0, 1).problem(4))
    coarse = SharedNoise(1.0, 1.0, 4, 8, 100.0, 1)
    assert "use more sealing.bits" in str(coarse.problem(64))


def test_charge_is_the_central_mechanisms() -> None:
    shared = DistributedGaussian(noise_multiplier=1.3, sampling_rate=0.05, steps=20, colluders=2)
    central = SampledGaussian(noise_multiplier=1.3, sampling_rate=0.05, steps=20)
    for order in (2, 8, 64):
        assert 0 <= charge(shared, order) - charge(central, order) <= 1
