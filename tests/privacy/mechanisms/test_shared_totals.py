"""Noise on totals in shares: what is left without the colluders is what was promised."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from privacy.mechanisms.shared_totals import (
    LARGEST_TOTAL,
    add_noise_to_totals,
    compute_added_variances,
    compute_largest_count,
    compute_share_variances,
)
from privacy.randomness import KeyStream


@pytest.mark.parametrize(("sites", "colluders"), [(3, 1), (4, 1), (5, 2), (16, 3)])
@pytest.mark.parametrize("sigma", [0.31, 2.902089, 57.1])
def test_shares_without_the_colluders_add_up_to_the_promised_noise(
    sites: int, colluders: int, sigma: float
) -> None:
    scales = (65536, 7, 591361)
    shares = compute_share_variances(scales, sigma, sites - colluders)
    for share, scale in zip(shares, scales, strict=True):
        left, promised = (sites - colluders) * share, Fraction(sigma) ** 2 * scale
        assert left >= promised
        assert left - promised < max(sites - colluders, 9 * (sites - colluders))
        assert share >= 9


def test_share_is_never_too_small_for_a_sum_of_discrete_gaussians() -> None:
    assert compute_share_variances((1, 1), 0.1, 2) == (9, 9)
    assert compute_added_variances((100, 50), (100, 80)) == (9, 30)


def test_share_of_a_cohort_of_colluders_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one honest site"):
        compute_share_variances((1,), 1.0, 0)


def test_noise_of_all_shares_has_the_moments_and_the_law_of_a_gaussian() -> None:
    sites, honest, sigma, scale, draws = 4, 3, 2.0, 65536, 3000
    variance = compute_share_variances((scale,), sigma, honest)[0]
    streams = [KeyStream(bytes([site]) * 32) for site in range(sites)]
    sums = np.sum([add_noise_to_totals((0,) * draws, (variance,) * draws, stream) for stream in streams], axis=0)
    deviation = sigma * math.sqrt(scale * sites / honest)
    assert abs(sums.mean()) < 4 * deviation / math.sqrt(draws)
    assert sums.std() == pytest.approx(deviation, rel=0.06)
    assert stats.kstest(sums / deviation, "norm").pvalue > 1e-4


def test_totals_keep_their_values_beneath_the_noise() -> None:
    totals = (10**6, -5, 0)
    noised = add_noise_to_totals(totals, (9, 9, 9), KeyStream(b"s" * 32))
    assert all(abs(after - before) < 40 for after, before in zip(noised, totals, strict=True))
    assert noised != totals


@pytest.mark.parametrize(
    ("largest", "deviation", "fits"),
    [(0, 10**8, True), (0, 2 * 10**8, False), (2**31 - 1, 3, False), (2**31 - 200, 3, True), (2**31, 0, False)],
)
def test_share_fits_a_total_if_twelve_deviations_of_its_noise_do(largest: int, deviation: int, fits: bool) -> None:
    assert (largest <= compute_largest_count((9, deviation**2))) is fits


def test_sum_of_cut_shares_has_less_noise_than_promised() -> None:
    """Why a share must fit: where one is cut, its noise is gone, and only that of the others is in the sum."""
    draws, variance = 2000, 10**6
    whole, other = (
        np.array(add_noise_to_totals((0,) * draws, (variance,) * draws, KeyStream(bytes([site]) * 32)))
        for site in (1, 2)
    )
    cut = np.minimum(LARGEST_TOTAL, whole + LARGEST_TOTAL + 10**5)
    assert (cut + other).std() == pytest.approx(math.sqrt(variance), rel=0.06)
    assert (whole + other).std() == pytest.approx(math.sqrt(2 * variance), rel=0.06)
