"""The cost of mechanisms, against published figures, dp-accounting and direct integration."""

import math
from decimal import Decimal

import dp_accounting
import numpy as np
import pytest
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from privacy.accountant import (
    ORDERS,
    Event,
    Gaussian,
    SampledGaussian,
    Unprotected,
    best_order,
    charge,
    conversion,
    epsilon,
    limit,
    noise_multiplier,
)
from privacy.errors import BudgetError

noises = st.floats(0.3, 20)
rates = st.floats(1e-5, 0.999)


def sampled(noise: float, rate: float, steps: int) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=noise, sampling_rate=rate, steps=steps)


def by_dp_accounting(noise: float, rate: float, steps: int, orders: list[int]) -> RdpAccountant:
    step = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    return RdpAccountant(orders).compose(dp_accounting.SelfComposedDpEvent(step, steps))


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "expected"),
    [
        (4, 0.01, 10_000, 1.0355),  # Abadi et al. 2016, figure 2, with the modern conversion
        (8, 0.01, 10_000, 0.4808),
        (2, 0.01, 10_000, 2.3529),
        (1.1, 256 / 60_000, 14_062, 2.5966),  # TensorFlow Privacy's tutorial
    ],
)
def test_epsilon_of_published_settings_is_theirs(noise: float, rate: float, steps: int, expected: float) -> None:
    # their orders include fractions, ours do not: ours may be larger in the fourth digit, never smaller
    ours = epsilon([sampled(noise, rate, steps)], 1e-5)
    assert expected - 1e-4 <= ours <= expected + 5e-4


@pytest.mark.parametrize(("steps", "expected"), [(10_000, 1.2586), (1000, 0.4684)])
def test_moments_accountant_of_abadi_2016_is_reproduced(steps: int, expected: float) -> None:
    event = sampled(4, 0.01, steps)
    classic = min(float(event.rho(moment + 1)) - math.log(1e-5) / moment for moment in range(1, 33))
    assert classic == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("order", "expected"), [(5, 2.18076e-3), (50, 2.3846e-2), (100, 167.416)])
def test_curve_of_50_steps_is_that_of_tensorflow_privacy(order: int, expected: float) -> None:
    assert float(sampled(2.5, 0.01, 50).rho(order)) == pytest.approx(expected, rel=1e-5)


def test_filter_of_feldman_and_zrnic_takes_eight_full_batches() -> None:
    step = Gaussian(noise_multiplier=4, count=1)
    assert 2_000_000_000 // charge(step, 8) == 8
    assert float(2 + conversion(1e-5, 8)) == pytest.approx(3.2141, abs=5e-5)


@pytest.mark.parametrize(("order", "steps"), [(8, 163), (32, 2)])
def test_fixed_order_admits_the_known_number_of_steps(order: int, steps: int) -> None:
    assert limit(3, 1e-5, order) // charge(sampled(2.178, 0.1, 1), order) == steps


def test_zcdp_of_one_half_converts_to_the_known_epsilon() -> None:
    # a Gaussian of noise 1; 4.7284 is over all real orders, integers lose a little
    assert 4.7284 <= epsilon([Gaussian(noise_multiplier=1, count=1)], 1e-5) < 4.76


@settings(max_examples=15, deadline=None)
@given(noises, rates, st.integers(1, 5000))
def test_curve_is_dp_accountings(noise: float, rate: float, steps: int) -> None:
    orders = [2, 3, 5, 8, 17, 32, 64, 128, 256]
    theirs = by_dp_accounting(noise, rate, steps, orders)
    ours = sampled(noise, rate, steps)
    for order, rho in zip(orders, theirs._rdp, strict=True):
        # theirs is 1 + small in floating point, so small curves carry an absolute error
        assert float(ours.rho(order)) == pytest.approx(rho, rel=1e-9, abs=steps * 1e-13)


@settings(max_examples=10, deadline=None)
@given(noises, rates, st.integers(1, 5000), st.sampled_from([1e-3, 1e-5, 1e-7]))
def test_epsilon_is_dp_accountings(noise: float, rate: float, steps: int, delta: float) -> None:
    theirs = by_dp_accounting(noise, rate, steps, list(ORDERS)).get_epsilon(delta)
    if theirs > 0:  # they also use a bound that is better only where epsilon is 0
        assert epsilon([sampled(noise, rate, steps)], delta) == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("noise", "rate", "order"), [(1.0, 0.1, 2), (0.8, 0.3, 5), (2.0, 0.01, 20), (4.0, 0.5, 32)]
)
def test_curve_is_the_integral_and_covers_both_directions(noise: float, rate: float, order: int) -> None:
    x = np.linspace(-30 * noise, 30 * noise + order, 400_001)
    log_without = -(x**2) / (2 * noise**2) - math.log(noise * math.sqrt(2 * math.pi))
    log_ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * x - 1) / (2 * noise**2))
    added = np.trapezoid(np.exp(log_without + order * log_ratio), x)
    removed = np.trapezoid(np.exp(log_without + (1 - order) * log_ratio), x)
    ours = float(sampled(noise, rate, 1).rho(order))
    assert ours == pytest.approx(math.log(added) / (order - 1), rel=1e-8)
    assert ours >= math.log(removed) / (order - 1) - 1e-12


def test_curve_without_sampling_is_the_gaussians() -> None:
    everybody, totals = sampled(1.5, 1, 7), Gaussian(noise_multiplier=1.5, count=7)
    assert everybody.curve() == totals.curve()
    assert everybody.rho(9) == Decimal(9 * 7) / Decimal("4.5")


def test_curve_at_the_least_noise_is_finite() -> None:
    assert sampled(0.01, 0.5, 1).rho(256).is_finite()


def test_curve_at_the_least_rate_is_its_leading_term() -> None:
    # order 2: log(1 + q^2 (e^(1/sigma^2) - 1)), which floating point would round to 0
    assert float(sampled(1, 1e-9, 1).rho(2)) == pytest.approx(1e-18 * math.expm1(1), rel=1e-6)


def test_charge_of_a_fraction_of_a_unit_is_one_unit() -> None:
    assert charge(sampled(100, 1e-6, 1), 2) == 1


def test_charge_that_is_whole_is_not_rounded() -> None:
    assert charge(Gaussian(noise_multiplier=4, count=1), 8) == 250_000_000


@settings(max_examples=10, deadline=None)
@given(st.floats(0.05, 10), st.sampled_from([1e-3, 1e-5]), rates, st.integers(1, 50), st.integers(1, 10))
def test_noise_multiplier_fits_and_a_millionth_less_does_not(
    asked: float, delta: float, rate: float, steps: int, rounds: int
) -> None:
    noise = noise_multiplier(asked, delta, rate, steps, rounds)
    assert epsilon([sampled(noise, rate, steps * rounds)], delta) <= asked

    def fits(candidate: float) -> bool:
        event = sampled(candidate, rate, steps)
        return any(rounds * charge(event, order) <= limit(asked, delta, order) for order in ORDERS)

    assert fits(noise)
    assert noise == 0.01 or not fits(noise - 1e-6)


def test_noise_multiplier_at_one_order_fits_that_order() -> None:
    noise = noise_multiplier(3, 1e-5, 0.1, 20, rounds=10, orders=[8])
    assert 10 * charge(sampled(noise, 0.1, 20), 8) <= limit(3, 1e-5, 8)
    assert noise > noise_multiplier(3, 1e-5, 0.1, 20, rounds=10)


def test_noise_multiplier_beyond_reach_is_refused() -> None:
    with pytest.raises(BudgetError, match=r"no noise reaches epsilon 0.001 at delta 1e-09 .* larger epsilon"):
        noise_multiplier(0.001, 1e-9, 0.5, 100)


def test_best_order_is_where_epsilon_is_least() -> None:
    event = sampled(4, 0.01, 10_000)
    order = best_order([event], 1e-5)
    assert order == 17
    assert epsilon([event], 1e-5) == epsilon([event], 1e-5, orders=[order])


def test_epsilon_of_nothing_is_zero_and_unprotected_is_infinite() -> None:
    assert epsilon([], 1e-5) == 0
    assert epsilon([sampled(4, 0.01, 1), Unprotected()], 1e-5) == math.inf
    assert set(Unprotected().curve().values()) == {Decimal("Infinity")}


def test_events_add_up() -> None:
    parts = [sampled(2, 0.05, 10), sampled(2, 0.05, 30)]
    assert epsilon(parts, 1e-5) == pytest.approx(epsilon([sampled(2, 0.05, 40)], 1e-5), rel=1e-12)


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "laplace", "noise_multiplier": 1},
        {"kind": "gaussian", "noise_multiplier": 0, "count": 1},
        {"kind": "gaussian", "noise_multiplier": 1, "count": 1, "shift": 2},
        {"kind": "sampled-gaussian", "noise_multiplier": 1, "sampling_rate": 1.5, "steps": 1},
        {"kind": "sampled-gaussian", "noise_multiplier": 1, "sampling_rate": 0, "steps": 1},
        {"noise_multiplier": 1, "count": 1},
    ],
)
def test_event_unknown_or_out_of_range_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Event).validate_python(value)


@pytest.mark.parametrize(("delta", "order"), [(0, 8), (1, 8), (1e-5, 1), (1e-5, 257)])
def test_conversion_out_of_range_is_refused(delta: float, order: int) -> None:
    with pytest.raises(BudgetError, match="expected"):
        conversion(delta, order)


@pytest.mark.parametrize("asked", [0, -1, math.inf, math.nan])
def test_limit_of_no_epsilon_is_refused(asked: float) -> None:
    with pytest.raises(BudgetError, match="expected a finite epsilon above 0"):
        limit(asked, 1e-5, 8)
