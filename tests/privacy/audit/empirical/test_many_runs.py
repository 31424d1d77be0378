"""Many trainings: published values, the exact chance that a true claim is refuted, and what cannot be."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, norm

from privacy.audit.empirical.many_runs import Runs, compute_gaussian_runs_bound, compute_many_runs_bound


@pytest.mark.parametrize(("error", "bound"), [(0.05, 5.809), (0.025, 5.601)])
def test_bound_without_errors_in_a_thousand_runs_each(error: float, bound: float) -> None:
    found = compute_many_runs_bound(Runs(1000, 0, 1000, 0), error_each=error)
    assert found == pytest.approx(bound, abs=5e-4)


def test_bound_is_the_better_of_both_directions() -> None:
    one, other = Runs(400, 3, 400, 250), Runs(400, 250, 400, 3)
    assert compute_many_runs_bound(one, 1e-5) == compute_many_runs_bound(other, 1e-5) > 2.7


@pytest.mark.parametrize("runs", [Runs(20, 10, 20, 10), Runs(20, 20, 20, 20), Runs(1, 0, 1, 0)])
def test_guessing_refutes_nothing(runs: Runs) -> None:
    assert compute_many_runs_bound(runs, 1e-5) == 0.0


def test_true_epsilon_of_randomised_response_is_refuted_with_the_stated_probability() -> None:
    epsilon, runs = 1.0, 30
    wrong = 1 / (1 + math.exp(epsilon))
    mass = binom.pmf(np.arange(runs + 1), runs, wrong)
    refuted = sum(
        mass[a] * mass[b]
        for a, b in product(range(runs + 1), repeat=2)
        if compute_many_runs_bound(Runs(runs, a, runs, b)) > epsilon
    )
    assert 0 < refuted <= 0.05


def test_gaussian_bound_finds_most_of_a_gaussian_mechanism() -> None:
    wrong = round(4000 * norm.cdf(-0.5))  # a threshold in the middle, with a shift of 1
    found = compute_gaussian_runs_bound(Runs(4000, wrong, 4000, wrong), 1e-5)
    assert 3.8 < found < 4.3778  # which is its epsilon at this delta


@pytest.mark.parametrize("runs", [Runs(0, 0, 5, 0), Runs(5, 0, 0, 0), Runs(5, 6, 5, 0)])
def test_runs_that_cannot_be_are_refused(runs: Runs) -> None:
    with pytest.raises(ValueError, match="expected 0 to"):
        compute_many_runs_bound(runs)
