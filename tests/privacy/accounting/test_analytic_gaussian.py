"""The analytic Gaussian mechanism against published noise, quadrature, dp-accounting and the ledger's accountant."""

import math

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from privacy.accounting.analytic_gaussian import (
    compute_analytic_noise,
    compute_classic_noise,
    compute_gaussian_delta,
    compute_gaussian_epsilon,
)
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import Gaussian
from privacy.errors import BudgetError


@pytest.mark.parametrize(("epsilon", "expected"), [(1, 3.730632), (0.5, 7.031827), (8, 0.600229)])
def test_known_noise(epsilon: float, expected: float) -> None:
    assert expected <= compute_analytic_noise(epsilon, 1e-5) <= expected + 1.01e-6


def test_classic_formula_is_the_known_one_and_needs_more_noise() -> None:
    assert compute_classic_noise(1, 1e-5) == pytest.approx(4.8448, abs=5e-5)
    assert compute_analytic_noise(1, 1e-5) < compute_classic_noise(1, 1e-5)
    with pytest.raises(BudgetError, match="proven for 0 < epsilon <= 1, got 8"):
        compute_classic_noise(8, 1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 5), st.floats(0.05, 6))
def test_delta_is_the_integral_of_the_hockey_stick(noise: float, epsilon: float) -> None:
    # the densities' difference is positive from x on
    x = 0.5 + epsilon * noise**2

    def excess(y: float) -> float:
        return float(norm.pdf(y, 1, noise) - math.exp(epsilon) * norm.pdf(y, 0, noise))

    exact = quad(excess, x, x + 12 * noise, epsabs=1e-14)[0]
    assert compute_gaussian_delta(noise, epsilon) == pytest.approx(exact, rel=1e-5, abs=1e-11)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 10), st.floats(1e-9, 0.1))
def test_noise_is_the_least_on_its_grid(epsilon: float, delta: float) -> None:
    noise = compute_analytic_noise(epsilon, delta)
    assert compute_gaussian_delta(noise, epsilon) <= delta
    assert compute_gaussian_delta(noise - 1.5e-6, epsilon) > delta * (1 - 1e-9)


def test_noise_of_many_releases_is_exact_and_the_ledger_charges_a_little_more() -> None:
    noise = compute_analytic_noise(3.0, 1e-5, 40)
    accountant = PLDAccountant()
    accountant.compose(dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(noise), 40))
    assert accountant.get_epsilon(1e-5) == pytest.approx(3.0, abs=2e-3)
    assert 3.0 < epsilon_of([Gaussian(noise_multiplier=noise, count=40)], 1e-5) < 3.4


def test_epsilon_of_zero_and_impossible_wishes() -> None:
    assert compute_gaussian_delta(compute_analytic_noise(0, 1e-3), 0) <= 1e-3
    for wish in ((-1.0, 1e-5, 1), (1.0, 0.0, 1), (1.0, 1e-5, 0), (math.inf, 1e-5, 1)):
        with pytest.raises(BudgetError, match="expected 0 <= epsilon"):
            compute_analytic_noise(*wish)
    with pytest.raises(BudgetError, match="no noise reaches epsilon 0 at delta 1e-12"):
        compute_analytic_noise(0, 1e-12)


@pytest.mark.parametrize(("noise", "delta"), [(3.730632, 1e-5), (0.5, 1e-6), (40.0, 1e-3), (400.0, 0.3)])
def test_epsilon_of_a_noise_is_that_of_a_loss_distribution(noise: float, delta: float) -> None:
    """By dp-accounting, whose figure is an upper bound; and at (1, 1e-5) the noise that was calibrated to it."""
    found = compute_gaussian_epsilon(noise, delta)
    assert compute_gaussian_delta(noise, found) <= delta
    known = from_gaussian_mechanism(noise, value_discretization_interval=1e-5).get_epsilon_for_delta(delta)
    assert known - 1e-4 <= found <= known + 1e-8 * known
    if noise == 3.730632:
        assert found == pytest.approx(1.0, abs=1e-6)
