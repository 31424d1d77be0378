"""The cost of mechanisms, against published figures, dp-accounting and direct integration."""

import math
from decimal import Decimal

import dp_accounting
import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants.analysis.rdp import compute_rdp
from pydantic import TypeAdapter, ValidationError
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import log_ndtr

from privacy.accounting.calibration import compute_noise_multiplier
from privacy.accounting.epsilon import (
    compute_charge,
    compute_epsilon_offset,
    compute_renyi_limit,
    compute_stored_curve,
    epsilon_of,
    find_best_order,
    is_cut_short,
)
from privacy.accounting.events import (
    AnyEvent,
    Bounded,
    BoundedContribution,
    Event,
    Gaussian,
    Laplace,
    SampledGaussian,
    SiteUpdates,
    Unprotected,
    repeat_event,
)
from privacy.accounting.renyi import AT_LEAST, LARGER, NANO, ORDERS, STORED_ORDERS
from privacy.errors import BudgetError

noises = st.floats(0.3, 20)
rates = st.floats(1e-5, 0.999)


def curve(event: AnyEvent) -> dict[int, Decimal]:
    """Renyi divergence at every order."""
    return {order: event.compute_renyi_divergence(order) for order in ORDERS}


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
    """Origin: computed with dp-accounting 0.6 over its default orders."""
    # their orders include fractions, ours do not: ours may be larger in the fourth digit, never smaller
    ours = epsilon_of([sampled(noise, rate, steps)], 1e-5)
    assert expected - 1e-4 <= ours <= expected + 5e-4


@pytest.mark.parametrize(("steps", "expected"), [(10_000, 1.2586), (1000, 0.4684)])
def test_moments_accountant_of_abadi_2016_is_reproduced(steps: int, expected: float) -> None:
    """Origin: the moments of arXiv 1607.00133, section 3.2, by their formula; their figure 2 says 1.26."""
    event = sampled(4, 0.01, steps)
    classic = min(
        float(event.compute_renyi_divergence(moment + 1)) - math.log(1e-5) / moment for moment in range(1, 33)
    )
    assert classic == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("order", "expected"), [(5, 2.18076e-3), (50, 2.3846e-2), (100, 167.416)])
def test_curve_of_50_steps_is_that_of_tensorflow_privacy(order: int, expected: float) -> None:
    """Origin: the test of TensorFlow Privacy's accountant, noise 2.5 and rate 0.01 (its fractional orders follow)."""
    assert float(sampled(2.5, 0.01, 50).compute_renyi_divergence(order)) == pytest.approx(expected, rel=1e-5)


def test_fractional_orders_of_the_same_test_lie_on_either_side_of_the_next_integer_order() -> None:
    """Origin: the same test, orders 1.5 and 2.5; an accountant of integer orders has neither.

    Divergence D(a) rises with its order a, and (a - 1) D(a) is convex and 0 at order 1.
    """
    low, high = 6.7058e-4, 1.08549e-3
    second = float(sampled(2.5, 0.01, 50).compute_renyi_divergence(2))
    third = float(sampled(2.5, 0.01, 50).compute_renyi_divergence(3))
    assert low < second < high < third
    assert 0.5 * low < second / 2  # the chord from order 1 to order 2
    assert 1.5 * high < (second + 2 * third) / 2  # the chord from order 2 to order 3
    assert second < (0.5 * low + 1.5 * high) / 2  # the chord from order 1.5 to order 2.5


def test_full_batch_of_the_known_noise_is_one_and_a_millionth() -> None:
    """Origin: dp-accounting's test, noise 4.530877117 over real orders; integers lose less than a thousandth."""
    assert 1 - 1e-9 <= epsilon_of([Gaussian(noise_multiplier=4.530877117, count=1)], 1e-6) < 1.001


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(1, 3.730632), (0.5, 7.031827), (8, 0.600229)],
)
def test_noise_of_one_gaussian_is_above_the_analytic_one(asked: float, expected: float) -> None:
    """Origin: the analytic Gaussian at delta 1e-5 (arXiv 1805.06530, equation 6), solved here once more."""

    def excess(noise: float) -> float:
        a, b = 0.5 / noise, asked * noise
        return (
            0.5 * (math.erfc((b - a) / math.sqrt(2)) - math.exp(asked) * math.erfc((b + a) / math.sqrt(2))) - 1e-5
        )

    exact = brentq(excess, 0.1, 50, xtol=1e-12)
    assert exact == pytest.approx(expected, abs=1e-6)
    # the Renyi curve asks for more noise than is needed: by less than a tenth, and never for less
    assert exact < compute_noise_multiplier(asked, 1e-5, 1.0, 1) < 1.1 * exact


def analytic_noise(asked: float, delta: float) -> float:
    """The least noise of one Gaussian (Balle and Wang 2018, arXiv 1805.06530, equation 6), by bisection."""

    def excess(noise: float) -> float:
        a, b = 0.5 / noise, asked * noise
        return float(math.exp(log_ndtr(a - b)) - math.exp(asked + log_ndtr(-a - b)) - delta)

    return float(brentq(excess, 0.1, 1e6, xtol=1e-9))


@pytest.mark.parametrize(
    ("asked", "delta", "known"),
    [(0.1, 1e-5, 30.75), (0.02, 1e-5, 131.8), (0.03, 1e-6, 111.3), (0.02, 1e-6, 161.9), (0.001, 1e-5, 1724.3)],
)
def test_noise_for_a_small_epsilon_is_near_the_analytic_one(asked: float, delta: float, known: float) -> None:
    exact = analytic_noise(asked, delta)
    assert exact == pytest.approx(known, rel=1e-3)
    noise = compute_noise_multiplier(asked, delta, 1.0, 1)
    assert exact < noise < 1.2 * exact
    assert 0.99 * asked < epsilon_of([Gaussian(noise_multiplier=noise, count=1)], delta) <= asked


@pytest.mark.parametrize(("rate", "steps"), [(0.1, 100), (0.01, 1000), (0.5, 10)])
def test_epsilon_of_sampled_steps_at_large_orders_is_dp_accountings(rate: float, steps: int) -> None:
    asked, delta = 0.01, 1e-6
    noise = compute_noise_multiplier(asked, delta, rate, steps)
    event = sampled(noise, rate, steps)
    assert find_best_order([event], delta) in LARGER
    theirs = by_dp_accounting(noise, rate, steps, [*ORDERS, *LARGER]).get_epsilon(delta)
    assert epsilon_of([event], delta) == pytest.approx(theirs, rel=1e-6)
    assert epsilon_of([event], delta) <= asked


@pytest.mark.parametrize(("noise", "rate", "order"), [(5.0, 0.01, 362), (40.0, 0.1, 2048), (300.0, 0.5, 16384)])
def test_curve_at_large_orders_is_that_of_forty_digits(noise: float, rate: float, order: int) -> None:
    """The moment of one step by mpmath, from its definition, with another count of digits and order of summation."""
    with mpmath.workdps(80):
        q, variance = mpmath.mpf(rate), mpmath.mpf(noise) ** 2
        terms = (
            mpmath.binomial(order, k) * (1 - q) ** (order - k) * q**k * mpmath.exp((k * k - k) / (2 * variance))
            for k in range(order, -1, -1)
        )
        want = mpmath.log(mpmath.fsum(terms)) / (order - 1)
        got = mpmath.mpf(str(sampled(noise, rate, 1).compute_renyi_divergence(order)))
        assert abs(got - want) < mpmath.mpf(10) ** -40 * (1 + want)
    assert compute_charge(sampled(noise, rate, 1), order) == math.ceil(want * NANO)


def test_orders_that_end_too_early_are_said() -> None:
    assert not is_cut_short([Gaussian(noise_multiplier=4000, count=1)], 1e-5)
    assert is_cut_short([Gaussian(noise_multiplier=40_000, count=1)], 1e-5)


def test_noise_where_all_records_are_drawn_is_that_of_one_gaussian() -> None:
    """Records of a patient that are all drawn are once Gaussian noise, whose curve is known at every order."""
    several = compute_noise_multiplier(0.02, 1e-5, 1.0, 1, records=3)
    assert several == pytest.approx(3 * compute_noise_multiplier(0.02, 1e-5, 1.0, 1), abs=1e-5)


def test_noise_for_a_small_epsilon_where_records_are_sampled_is_found_at_an_order_beyond_32() -> None:
    noise = compute_noise_multiplier(0.1, 1e-6, 0.1, 1, records=2)
    event = BoundedContribution(noise_multiplier=noise, sampling_rate=0.1, records_per_patient=2, steps=1)
    assert find_best_order([event], 1e-6) > 32
    assert 0.09 < epsilon_of([event], 1e-6) <= 0.1


def test_filter_of_feldman_and_zrnic_takes_eight_full_batches() -> None:
    """Origin: arXiv 2008.11193, order 8, budget 2, noise 4, delta 1e-5; both conversions computed by hand."""
    step = Gaussian(noise_multiplier=4, count=1)
    assert 2 * NANO // compute_charge(step, 8) == 8
    assert 2 + math.log(1e5) / 7 == pytest.approx(3.6447, abs=5e-5)  # the classical conversion, of their theorem
    assert float(2 + compute_epsilon_offset(1e-5, 8)) == pytest.approx(3.2141, abs=5e-5)
    assert epsilon_of([step] * 8, 1e-5, orders=[8]) == pytest.approx(3.2141, abs=5e-5)
    assert compute_renyi_limit(3.2141, 1e-5, 8) // compute_charge(step, 8) == 7  # it is 3.21411
    assert compute_renyi_limit(3.2142, 1e-5, 8) // compute_charge(step, 8) == 8


@pytest.mark.parametrize(("order", "steps"), [(8, 163), (32, 2)])
def test_fixed_order_admits_the_known_number_of_steps(order: int, steps: int) -> None:
    assert compute_renyi_limit(3, 1e-5, order) // compute_charge(sampled(2.178, 0.1, 1), order) == steps


def test_zcdp_of_one_half_converts_to_the_known_epsilon() -> None:
    # a Gaussian of noise 1; 4.7284 is over all real orders, integers lose a little
    assert 4.7284 <= epsilon_of([Gaussian(noise_multiplier=1, count=1)], 1e-5) < 4.76


@settings(max_examples=15, deadline=None)
@given(noises, rates, st.integers(1, 5000))
def test_curve_is_dp_accountings(noise: float, rate: float, steps: int) -> None:
    orders = [2, 3, 5, 8, 17, 32, 64, 128, 256]
    theirs = by_dp_accounting(noise, rate, steps, orders)
    ours = sampled(noise, rate, steps)
    for order, rho in zip(orders, theirs._rdp, strict=True):
        # theirs is 1 + small in floating point, so small curves carry an absolute error
        assert float(ours.compute_renyi_divergence(order)) == pytest.approx(rho, rel=1e-9, abs=steps * 1e-13)


@settings(max_examples=10, deadline=None)
@given(noises, rates, st.integers(1, 5000), st.sampled_from([1e-3, 1e-5, 1e-7]))
def test_epsilon_is_dp_accountings(noise: float, rate: float, steps: int, delta: float) -> None:
    theirs = by_dp_accounting(noise, rate, steps, [*ORDERS, *LARGER]).get_epsilon(delta)
    if theirs > 0:  # they also use a bound that is better only where epsilon is 0
        assert epsilon_of([sampled(noise, rate, steps)], delta) == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("noise", "rate", "order"), [(1.0, 0.1, 2), (0.8, 0.3, 5), (2.0, 0.01, 20), (4.0, 0.5, 32)]
)
def test_curve_is_the_integral_and_covers_both_directions(noise: float, rate: float, order: int) -> None:
    x = np.linspace(-30 * noise, 30 * noise + order, 400_001)
    log_without = -(x**2) / (2 * noise**2) - math.log(noise * math.sqrt(2 * math.pi))
    log_ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * x - 1) / (2 * noise**2))
    added = np.trapezoid(np.exp(log_without + order * log_ratio), x)
    removed = np.trapezoid(np.exp(log_without + (1 - order) * log_ratio), x)
    ours = float(sampled(noise, rate, 1).compute_renyi_divergence(order))
    assert ours == pytest.approx(math.log(added) / (order - 1), rel=1e-8)
    assert ours >= math.log(removed) / (order - 1) - 1e-12


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.5, 8.0])
@pytest.mark.parametrize("rate", [1e-6, 1e-3, 0.05, 0.4, 0.95])
def test_curve_is_that_of_opacus(noise: float, rate: float) -> None:
    theirs = compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=list(STORED_ORDERS))
    for order, rho in zip(STORED_ORDERS, np.atleast_1d(theirs), strict=True):
        ours = float(sampled(noise, rate, 1).compute_renyi_divergence(order))
        assert ours == pytest.approx(rho, rel=1e-9, abs=1e-14)
        assert ours >= rho * (1 - 1e-9) - 1e-14


@pytest.mark.parametrize("scale", [0.05, 0.7, 1.0, 3.0, 40.0])
@pytest.mark.parametrize("order", [2, 3, 8, 32, 256])
def test_curve_of_laplace_is_the_integral(scale: float, order: int) -> None:
    """E over Laplace(0, b) of the ratio to Laplace(1, b), to the power ``order``; symmetric, so one direction."""
    shift = (order - 1) / scale  # the largest exponent, taken out against overflow

    def integrand(x: float) -> float:
        log_ratio = (abs(x - 1) - abs(x)) / scale
        return math.exp((order - 1) * log_ratio - abs(x) / scale - shift) / (2 * scale)

    parts = [quad(integrand, *ends, epsabs=0, epsrel=1e-12)[0] for ends in ((-60 * scale, 0), (0, 1))]
    beyond = quad(integrand, 1, 1 + 60 * scale, epsabs=0, epsrel=1e-12)[0]
    expected = (math.log(sum(parts) + beyond) + shift) / (order - 1)
    ours = float(Laplace(scale=scale, count=1).compute_renyi_divergence(order))
    assert ours == pytest.approx(expected, rel=1e-9)
    assert ours <= 1 / scale
    assert float(Laplace(scale=scale, count=7).compute_renyi_divergence(order)) == pytest.approx(
        7 * ours, rel=1e-12
    )


@settings(max_examples=15, deadline=None)
@given(st.floats(0.02, 100), st.sampled_from([2, 3, 5, 17, 64, 256]))
def test_curve_of_laplace_is_dp_accountings(scale: float, order: int) -> None:
    theirs = RdpAccountant([order]).compose(dp_accounting.LaplaceDpEvent(scale))._rdp[0]
    assert float(Laplace(scale=scale, count=1).compute_renyi_divergence(order)) == pytest.approx(
        theirs, rel=1e-9, abs=1e-13
    )


@settings(max_examples=15, deadline=None)
@given(st.floats(0.02, 100), st.integers(1, 50), st.sampled_from(STORED_ORDERS))
def test_curve_of_totals_is_dp_accountings(noise: float, count: int, order: int) -> None:
    event = dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(noise), count)
    theirs = RdpAccountant([order]).compose(event)._rdp[0]
    assert float(Gaussian(noise_multiplier=noise, count=count).compute_renyi_divergence(order)) == pytest.approx(
        theirs, rel=1e-12
    )


@pytest.mark.parametrize("noise", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("order", [2, 5, 32])
def test_curve_of_integer_totals_is_below_that_of_real_ones(noise: float, order: int) -> None:
    """The discrete Gaussian against its neighbour, summed term by term: the bound that the curve relies on."""
    reach = math.ceil(40 * noise) + order
    exponents = [(-order * x**2 - (1 - order) * (x - 1) ** 2) / (2 * noise**2) for x in range(-reach, reach + 1)]
    top = max(exponents)
    mass = math.fsum(math.exp(-(x**2) / (2 * noise**2)) for x in range(-reach, reach + 1))
    moment = math.fsum(math.exp(each - top) for each in exponents) / mass
    exact = (top + math.log(moment)) / (order - 1)
    assert exact <= float(Gaussian(noise_multiplier=noise, count=1).compute_renyi_divergence(order)) * (1 + 1e-12)


def test_curve_without_sampling_is_the_gaussians() -> None:
    everybody, totals = sampled(1.5, 1, 7), Gaussian(noise_multiplier=1.5, count=7)
    assert curve(everybody) == curve(totals)
    assert everybody.compute_renyi_divergence(9) == Decimal(9 * 7) / Decimal("4.5")


def test_curve_at_the_least_noise_is_finite() -> None:
    assert sampled(0.01, 0.5, 1).compute_renyi_divergence(256).is_finite()


def test_curve_at_the_least_rate_is_its_leading_term() -> None:
    # order 2: log(1 + q^2 (e^(1/sigma^2) - 1)), which floating point would round to 0
    assert float(sampled(1, 1e-9, 1).compute_renyi_divergence(2)) == pytest.approx(1e-18 * math.expm1(1), rel=1e-6)


ANY: list[Bounded] = [
    sampled(2, 0.05, 10),
    Gaussian(noise_multiplier=20, count=2),
    Laplace(scale=3, count=2),
    BoundedContribution(noise_multiplier=6, sampling_rate=0.02, records_per_patient=2, steps=3),
    BoundedContribution(noise_multiplier=6, sampling_rate=1, records_per_patient=3, steps=3),
    SiteUpdates(noise_multiplier=6, participation=0.4, steps=3, colluders=1),
]


@pytest.mark.parametrize("event", ANY, ids=lambda event: event.kind)
def test_carried_curve_is_the_charge_at_every_order_of_a_grant(event: Bounded) -> None:
    assert compute_stored_curve(event) == tuple(compute_charge(event, order) for order in STORED_ORDERS)


@pytest.mark.parametrize("event", ANY, ids=lambda event: event.kind)
def test_charge_is_the_curve_rounded_up_by_less_than_a_unit(event: Bounded) -> None:
    for order in STORED_ORDERS:
        assert 0 <= compute_charge(event, order) - event.compute_renyi_divergence(order) * NANO < 1


@pytest.mark.parametrize("event", ANY, ids=lambda event: event.kind)
def test_carried_curve_of_a_plan_is_as_many_times_that_of_a_round(event: Bounded) -> None:
    once, often = compute_stored_curve(event), compute_stored_curve(event, times=40)
    assert once is not None
    assert often == tuple(40 * each for each in once)


def test_carried_curve_beyond_any_grant_is_written_as_at_least() -> None:
    curve = compute_stored_curve(Gaussian(noise_multiplier=0.0625, count=1000))
    assert curve is not None
    assert (curve[0], curve[-1]) == (256_000 * NANO, AT_LEAST)  # order 2: 2 * 1000 / (2 * 0.0625^2)


def test_carried_curve_of_unprotected_is_none() -> None:
    assert compute_stored_curve(Unprotected()) is None


@pytest.mark.parametrize("event", ANY, ids=lambda event: event.kind)
def test_event_repeated_costs_as_often(event: Bounded) -> None:
    for order in (2, 8, 64):
        assert float(repeat_event(event, 7).compute_renyi_divergence(order)) == pytest.approx(
            7 * float(event.compute_renyi_divergence(order)), rel=1e-12
        )


def test_unprotected_repeated_is_unprotected() -> None:
    assert repeat_event(Unprotected(), 7) == Unprotected()


@pytest.mark.parametrize("order", [order for order in ORDERS if order not in STORED_ORDERS][::40])
def test_charge_where_no_bound_is_known_is_refused(order: int) -> None:
    event = BoundedContribution(noise_multiplier=6, sampling_rate=0.02, records_per_patient=2, steps=3)
    with pytest.raises(BudgetError, match=rf"no bound of a bounded-contribution event is known at order {order}"):
        compute_charge(event, order)


@pytest.mark.parametrize("records", [1, 3, 64])
def test_patient_whose_records_are_all_drawn_is_a_gaussian_that_much_louder(records: int) -> None:
    # with the least noise there is, too: 0.01 over 64 records is less than an event may have
    event = BoundedContribution(noise_multiplier=0.01, sampling_rate=1, records_per_patient=records, steps=2)
    once = Gaussian(noise_multiplier=0.01, count=2)
    assert float(event.compute_renyi_divergence(8)) == pytest.approx(
        float(once.compute_renyi_divergence(8)) * records**2, rel=1e-12
    )


def test_patient_with_one_record_is_the_sampled_gaussian() -> None:
    event = BoundedContribution(noise_multiplier=2, sampling_rate=0.05, records_per_patient=1, steps=10)
    assert curve(event) == curve(sampled(2, 0.05, 10))


def test_charge_of_a_fraction_of_a_unit_is_one_unit() -> None:
    assert compute_charge(sampled(100, 1e-6, 1), 2) == 1


def test_charge_that_is_whole_is_not_rounded() -> None:
    assert compute_charge(Gaussian(noise_multiplier=4, count=1), 8) == 250_000_000


@settings(max_examples=10, deadline=None)
@given(st.floats(0.05, 10), st.sampled_from([1e-3, 1e-5]), rates, st.integers(1, 50), st.integers(1, 10))
def test_noise_multiplier_fits_and_a_millionth_less_does_not(
    asked: float, delta: float, rate: float, steps: int, rounds: int
) -> None:
    noise = compute_noise_multiplier(asked, delta, rate, steps, rounds)
    assert epsilon_of([sampled(noise, rate, steps * rounds)], delta) <= asked

    def fits(candidate: float) -> bool:
        event = sampled(candidate, rate, steps)
        return any(
            rounds * compute_charge(event, order) <= compute_renyi_limit(asked, delta, order) for order in ORDERS
        )

    assert fits(noise)
    assert noise == 0.01 or not fits(noise - 1e-6)


def test_noise_multiplier_at_one_order_fits_that_order() -> None:
    noise = compute_noise_multiplier(3, 1e-5, 0.1, 20, rounds=10, orders=(8,))
    assert 10 * compute_charge(sampled(noise, 0.1, 20), 8) <= compute_renyi_limit(3, 1e-5, 8)
    assert noise > compute_noise_multiplier(3, 1e-5, 0.1, 20, rounds=10)


def test_noise_multiplier_beyond_reach_is_refused() -> None:
    with pytest.raises(BudgetError, match=r"no noise reaches epsilon 0.0001 at delta 1e-09 .* larger epsilon"):
        compute_noise_multiplier(0.0001, 1e-9, 0.5, 100)


def test_best_order_is_where_epsilon_is_least() -> None:
    event = sampled(4, 0.01, 10_000)
    order = find_best_order([event], 1e-5)
    assert order == 17
    assert epsilon_of([event], 1e-5) == epsilon_of([event], 1e-5, orders=[order])


def test_epsilon_of_nothing_is_zero_and_unprotected_is_infinite() -> None:
    assert epsilon_of([], 1e-5) == 0
    assert epsilon_of([sampled(4, 0.01, 1), Unprotected()], 1e-5) == math.inf
    assert set(curve(Unprotected()).values()) == {Decimal("Infinity")}


@pytest.mark.parametrize("event", [*ANY, Unprotected()], ids=lambda event: event.kind)
def test_event_written_down_is_read_again(event: AnyEvent) -> None:
    assert TypeAdapter(Event).validate_json(event.to_bytes()) == event


def test_events_add_up() -> None:
    parts = [sampled(2, 0.05, 10), sampled(2, 0.05, 30)]
    assert epsilon_of(parts, 1e-5) == pytest.approx(epsilon_of([sampled(2, 0.05, 40)], 1e-5), rel=1e-12)


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "exponential", "noise_multiplier": 1},
        {"kind": "laplace", "noise_multiplier": 1, "count": 1},
        {"kind": "laplace", "scale": 0, "count": 1},
        {"kind": "bounded-contribution", "noise_multiplier": 1, "sampling_rate": 0.1, "steps": 1},
        {
            "kind": "bounded-contribution",
            "noise_multiplier": 1,
            "sampling_rate": 0.1,
            "records_per_patient": 65,
            "steps": 1,
        },
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


@pytest.mark.parametrize(("delta", "order"), [(0, 8), (1, 8), (1e-5, 1), (1e-5, 16385)])
def test_conversion_out_of_range_is_refused(delta: float, order: int) -> None:
    with pytest.raises(BudgetError, match="expected"):
        compute_epsilon_offset(delta, order)


@pytest.mark.parametrize("asked", [0, -1, math.inf, math.nan])
def test_limit_of_no_epsilon_is_refused(asked: float) -> None:
    with pytest.raises(BudgetError, match="expected a finite epsilon above 0"):
        compute_renyi_limit(asked, 1e-5, 8)
