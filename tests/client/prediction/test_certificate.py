"""Certificates against published figures, a search, scipy's intervals, and their own rules."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm

from client.prediction.certificate import (
    bound_above,
    bound_below,
    certify_counts,
    compute_cohen_radius,
    compute_hoeffding_width,
    compute_laplace_size,
    compute_pixeldp_radius,
)
from models.layers.bounded_noise import compute_deviation

STD = compute_deviation(0.1, 1.0, 0.05)


def test_deviation_is_that_of_the_classic_gaussian_mechanism() -> None:
    assert pytest.approx(0.253727, abs=5e-7) == STD


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (bound_below(95, 100, 0.05), 0.897747),
        (bound_above(3, 100, 0.05), 0.075711),
        (bound_below(95, 100, 0.05 / 10), 0.864855),
        (bound_above(3, 100, 0.05 / 10), 0.105481),
        (compute_hoeffding_width(300, 0.05 / 10), 0.093971),
        (compute_laplace_size(0.9, 0.05, 0.1, 1.0), 0.144519),
        (compute_cohen_radius(0.9, 0.05, STD), 0.371254),
        (compute_cohen_radius(0.99, 0.005, STD), 0.621908),
    ],
)
def test_known_figures(found: float, expected: float) -> None:
    assert found == pytest.approx(expected, abs=6e-7)


@pytest.mark.parametrize(("below", "above", "known"), [(0.9, 0.05, 0.121610), (0.99, 0.005, 0.142336)])
def test_pixeldp_radius_is_the_maximum_that_a_search_finds(below: float, above: float, known: float) -> None:
    """The authors' code searches a coarse grid, and finds up to 0.15 % less than there is."""

    def size(epsilon: float) -> float:
        delta = (below - math.exp(2 * epsilon) * above) / (1 + math.exp(epsilon))
        return 0.0 if delta <= 0 else STD * epsilon / math.sqrt(2 * math.log(1.25 / delta))

    exact = max(size(1.0), -minimize_scalar(lambda e: -size(e), bounds=(1e-6, 1), method="bounded").fun)
    ours = compute_pixeldp_radius(below, above, STD)
    assert known <= ours <= known * 1.0016
    assert exact * (1 - 2e-4) <= ours <= exact * (1 + 1e-12)


@given(st.integers(1, 500), st.data(), st.floats(1e-6, 0.4))
def test_bounds_are_the_exact_intervals_of_scipy(draws: int, data: st.DataObject, error: float) -> None:
    successes = data.draw(st.integers(0, draws))
    theirs = binomtest(successes, draws, alternative="two-sided").proportion_ci(1 - 2 * error, "exact")
    assert bound_below(successes, draws, error) == pytest.approx(theirs.low, abs=1e-9)
    assert bound_above(successes, draws, error) == pytest.approx(theirs.high, abs=1e-9)


@given(st.floats(0, 1), st.floats(0, 1))
def test_cohens_radius_is_never_smaller(below: float, above: float) -> None:
    assert compute_pixeldp_radius(below, above, STD) <= compute_cohen_radius(below, above, STD) + 1e-12


@given(st.integers(50, 100), st.integers(1, 20))
def test_radius_grows_with_the_agreement_and_with_the_draws(agreeing: int, times: int) -> None:
    radius = certify_counts(np.array([agreeing, 100 - agreeing]), STD)
    more = certify_counts(np.array([min(100, agreeing + 1), max(0, 99 - agreeing)]), STD)
    longer = certify_counts(np.array([agreeing, 100 - agreeing]) * times, STD)
    assert radius.pixeldp <= more.pixeldp
    assert radius.cohen <= more.cohen
    assert radius.pixeldp <= longer.pixeldp + 1e-12
    assert radius.cohen <= longer.cohen + 1e-12


def test_draws_that_disagree_certify_nothing() -> None:
    assert certify_counts(np.array([50, 50]), STD)[3:] == (0.0, 0.0)
    assert certify_counts(np.array([34, 33, 33]), STD)[3:] == (0.0, 0.0)


def test_intervals_of_all_classes_hold_together() -> None:
    """Of 2,000 images whose chances are known, hardly more than 5 % may have a bound that is wrong."""
    chances, draws = np.array([0.5, 0.3, 0.2]), 100
    counts = np.random.default_rng(1).multinomial(draws, chances, size=2000)
    wrong = 0
    for each in counts:
        found = certify_counts(each, STD)
        others = np.delete(chances, found.place).max()
        wrong += found.below > chances[found.place] or found.above < others
    assert wrong / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_cohens_radius_is_exact_for_a_plane() -> None:
    """A linear classifier under noise changes its majority exactly at the plane: the radius reaches it."""
    distance = 0.3
    chance = float(norm.cdf(distance / STD))
    assert compute_cohen_radius(chance, 1 - chance, STD) == pytest.approx(distance)
