"""Tails against sums of exact fractions; Clopper and Pearson's bound against its definition and against scipy."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.stats import beta

from privacy.audit.empirical.binomial import compute_largest_chance, compute_sums_below, compute_upper_tail

CHANCE = Fraction(3, 4)


def exact(trials: int, counts: range) -> Fraction:
    return sum(
        (comb(trials, count) * CHANCE**count * (1 - CHANCE) ** (trials - count) for count in counts), Fraction(0)
    )


@pytest.mark.parametrize(("trials", "successes"), [(1, 0), (1, 1), (40, 1), (40, 33), (40, 40)])
def test_upper_tail_is_the_sum_of_exact_fractions(trials: int, successes: int) -> None:
    found = compute_upper_tail(trials, successes, float(CHANCE))
    assert found == pytest.approx(float(exact(trials, range(successes, trials + 1))), rel=1e-9)


def test_upper_tail_beyond_all_trials_is_zero() -> None:
    assert compute_upper_tail(5, 6, 0.5) == 0.0


@pytest.mark.parametrize(("trials", "successes"), [(1, 1), (40, 33), (40, 40)])
def test_sums_below_are_sums_of_exact_fractions(trials: int, successes: int) -> None:
    sums = compute_sums_below(trials, successes, float(CHANCE))
    wanted = [float(exact(trials, range(successes - i, successes))) for i in range(1, successes + 1)]
    assert np.allclose(sums, wanted, rtol=1e-9, atol=0)


def test_largest_chance_of_no_success_in_a_thousand() -> None:
    # the solution of (1 - p)^1000 = 0.05
    assert compute_largest_chance(0, 1000, 0.05) == pytest.approx(1 - 0.05 ** (1 / 1000), rel=1e-9)
    assert compute_largest_chance(0, 1000, 0.05) == pytest.approx(0.0029912, abs=5e-8)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 100), (95, 100), (999, 1000)])
def test_largest_chance_is_scipys(successes: int, trials: int) -> None:
    wanted = float(beta.ppf(0.975, successes + 1, trials - successes))
    assert compute_largest_chance(successes, trials, 0.025) == pytest.approx(wanted, rel=1e-9)


def test_largest_chance_of_all_successes_is_one() -> None:
    assert compute_largest_chance(7, 7, 0.05) == 1.0


@pytest.mark.parametrize(("successes", "trials", "error"), [(2, 1, 0.05), (0, 0, 0.05), (0, 1, 0.0), (0, 1, 1.0)])
def test_largest_chance_of_what_cannot_be_is_refused(successes: int, trials: int, error: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        compute_largest_chance(successes, trials, error)
