"""Integer noise of many parties: published values, and exact divergences by summing over the integers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import skellam

from privacy.accounting.events import DistributedGaussian, Gaussian
from privacy.accounting.integer_noise import (
    bound_rounded_norm,
    compute_distributed_gaussian_divergence,
    compute_skellam_divergence,
    compute_sum_error,
)

Array = NDArray[np.float64]


def divergence(log_ones: Array, log_others: Array, order: float) -> float:
    return float(np.log(np.exp(order * log_ones + (1 - order) * log_others).sum()) / (order - 1))


def log_discrete_gaussian(points: NDArray[np.int64], variance: float) -> Array:
    logs = -(points.astype(float) ** 2) / (2 * variance)
    everything = np.arange(-2000, 2001).astype(float)
    return np.asarray(logs - np.log(np.exp(-(everything**2) / (2 * variance)).sum()))


def test_rounded_norms_are_the_known_ones() -> None:
    assert bound_rounded_norm(100, 1024, math.exp(-0.5)) == pytest.approx(101.8430, abs=5e-5)
    assert bound_rounded_norm(100, 1024, 0) == 132


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60))
def test_rounded_vectors_are_as_short_as_the_bound_says(seed: int, length: int) -> None:
    random = np.random.default_rng(seed)
    vector = random.standard_normal(length)
    vector *= 5 / np.linalg.norm(vector)
    rounded = np.floor(vector + random.random((2000, length)))
    lengths = np.linalg.norm(rounded, axis=1)
    assert lengths.max() <= bound_rounded_norm(5, length, 0)
    beta = math.exp(-0.5)
    assert (lengths > bound_rounded_norm(5, length, beta)).mean() <= beta


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.3453), (1, 5.435e-4), (2, 7.2e-17)])
def test_sums_of_ten_discrete_gaussians_are_off_by_the_known_error(share: float, expected: float) -> None:
    assert compute_sum_error(10, share) == pytest.approx(expected, rel=6e-3)


def test_discrete_gaussian_at_an_integer_shift_has_the_gaussians_divergence() -> None:
    points = np.arange(-300, 301)
    exact = divergence(log_discrete_gaussian(points - 2, 9.0), log_discrete_gaussian(points, 9.0), 4)
    assert exact == pytest.approx(0.888889, abs=5e-7) == pytest.approx(4 * 2**2 / (2 * 9), abs=5e-7)
    assert compute_distributed_gaussian_divergence(4, 2, 2, 1, parties=1, share=3.0) == pytest.approx(exact)


@pytest.mark.parametrize(("parties", "share"), [(2, 1.0), (5, 1.0), (4, 1.5)])
def test_sum_of_shares_is_within_its_bound(parties: int, share: float) -> None:
    """The distribution of the sum by convolution, shifted by one."""
    points = np.arange(-60, 61)
    one = np.exp(log_discrete_gaussian(points, share**2))
    total = one
    for _ in range(parties - 1):
        total = np.convolve(total, one)
    kept = total[len(total) // 2 - 25 : len(total) // 2 + 26]
    logs = np.log(kept)
    exact = divergence(logs[:-1], logs[1:], 2)
    assert exact <= compute_distributed_gaussian_divergence(2, 1, 1, 1, parties, share) + 1e-9


@pytest.mark.parametrize(("variance", "expected"), [(100, 4.045), (1000, 0.40045)])
def test_skellam_bounds_are_the_known_ones(variance: float, expected: float) -> None:
    assert compute_skellam_divergence(8, 10, 50, variance) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("variance", "shift", "order", "known", "bound"),
    [(100, 10, 4, 1.94534, 2.019), (400, 10, 8, 0.991517, 1.002438), (50, 1, 2, 0.0199968, 0.0209)],
)
def test_exact_skellam_divergence_is_below_its_bound(
    variance: float, shift: int, order: int, known: float, bound: float
) -> None:
    points = np.arange(-int(12 * variance**0.5), int(12 * variance**0.5) + 1)
    ones = skellam.logpmf(points - shift, variance / 2, variance / 2)
    others = skellam.logpmf(points, variance / 2, variance / 2)
    assert divergence(ones, others, order) == pytest.approx(known, rel=2e-4)
    assert compute_skellam_divergence(order, shift, shift, variance) == pytest.approx(bound, rel=1e-3)
    assert known < bound


def test_what_the_platform_charges_is_above_the_published_bound_of_its_shares() -> None:
    """Eight parties with 3 units each, in a million coordinates; a patient moves the sum by one unit."""
    noise = math.sqrt(8) * 3
    published = compute_distributed_gaussian_divergence(8, 1, 1, 10**6, 8, 3.0)
    charged = DistributedGaussian(noise_multiplier=noise, sampling_rate=1.0, steps=1, colluders=0)
    assert float(charged.compute_renyi_divergence(8)) == pytest.approx(published, rel=1e-12)
    assert float(Gaussian(noise_multiplier=noise, count=1).compute_renyi_divergence(8)) <= published * (1 + 1e-12)
