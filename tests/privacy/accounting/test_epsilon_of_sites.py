"""What whole updates of sites cost a patient, against direct integration, sums over a lattice and dp-accounting."""

import math
from decimal import Decimal

import dp_accounting
import numpy as np
import pytest
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy.accounting import pld
from privacy.accounting.calibration import compute_site_noise_multiplier
from privacy.accounting.epsilon import compute_charge, compute_renyi_limit, epsilon_of
from privacy.accounting.events import SampledGaussian, SiteUpdates
from privacy.accounting.renyi import NANO, ORDERS
from privacy.errors import BudgetError

Array = NDArray[np.float64]


def updates(noise: float, participation: float, steps: int = 1) -> SiteUpdates:
    return SiteUpdates(noise_multiplier=noise, participation=participation, steps=steps, colluders=1)


def log_mixture(log_ratio: Array, rate: float) -> Array:
    """Log of (1-q) + q times the ratio."""
    if rate == 1:
        return log_ratio
    mixed: Array = np.logaddexp(math.log1p(-rate), math.log(rate) + log_ratio)
    return mixed


def divergence(log_none: Array, log_one: Array, log_other: Array, order: int, weight: float = 1.0) -> float:
    """Renyi divergence of two densities over ``log_none``, given as log ratios on the same points."""
    exponent = log_none + order * log_one + (1 - order) * log_other
    top = exponent.max()
    return float((top + math.log(np.exp(exponent - top).sum() * weight)) / (order - 1))


def opposite(noise: float, rate: float, order: int) -> float:
    """The update becomes its opposite: by the trapezoidal rule, which is exact for such integrands."""
    x = np.linspace(-40 * noise - 3 * order, 40 * noise + 3 * order, 400_001)
    log_none = -(x**2) / (2 * noise**2) - math.log(noise * math.sqrt(2 * math.pi))
    one, other = (log_mixture((sign * 2 * x - 1) / (2 * noise**2), rate) for sign in (1, -1))
    return divergence(log_none, one, other, order, x[1] - x[0])


@pytest.mark.parametrize("noise", [0.8, 2.0, 6.0, 20.0])
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("order", [2, 3, 6, 24])
def test_curve_is_above_the_integral_of_an_update_that_is_turned_round(
    noise: float, rate: float, order: int
) -> None:
    ours = float(updates(noise, rate).compute_renyi_divergence(order))
    assert ours >= opposite(noise, rate, order) * (1 - 1e-9)


@pytest.mark.parametrize("noise", [8.0, 30.0])
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("order", "loss"), [(2, 1.15), (4, 1.08), (8, 1.09)])
def test_curve_loses_little_at_the_noise_that_studies_have(
    noise: float, rate: float, order: int, loss: float
) -> None:
    """What Cauchy and Schwarz give away is 1 / (4a(a-1)) for much noise."""
    assert float(updates(noise, rate).compute_renyi_divergence(order)) <= loss * opposite(noise, rate, order)


@pytest.mark.parametrize("rate", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("order", [2, 5])
def test_curve_is_above_every_pair_of_updates_in_the_plane(rate: float, order: int) -> None:
    noise, random = 1.5, np.random.default_rng(11)
    axis = np.linspace(-9 * noise - 2 * order, 9 * noise + 2 * order, 401)
    x, y = np.meshgrid(axis, axis)
    log_none = -(x**2 + y**2) / (2 * noise**2) - math.log(2 * math.pi * noise**2)
    bound = float(updates(noise, rate).compute_renyi_divergence(order))
    for _ in range(25):
        angles, lengths = random.uniform(0, 2 * math.pi, 2), np.sqrt(random.uniform(0, 1, 2))
        ratios = [
            log_mixture((x * r * math.cos(t) + y * r * math.sin(t) - r * r / 2) / noise**2, rate)
            for t, r in zip(angles, lengths, strict=True)
        ]
        found = divergence(log_none, ratios[0], ratios[1], order, (axis[1] - axis[0]) ** 2)
        assert found <= bound * (1 + 1e-9)


@pytest.mark.parametrize("rate", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("order", [2, 5, 16])
@pytest.mark.parametrize("shifts", [(5, -5), (5, 0), (0, 5), (5, -2), (4, -4)])
def test_curve_is_above_the_sum_over_the_integers(rate: float, order: int, shifts: tuple[int, int]) -> None:
    """Discrete Gaussian noise of standard deviation 1.5 times the sensitivity of 5 grid units, term by term."""
    deviation = 1.5 * 5
    z = np.arange(-40 * 8 - 5 * order * 2, 40 * 8 + 5 * order * 2 + 1, dtype=np.float64)
    log_none = -(z**2) / (2 * deviation**2)
    log_none -= math.log(np.exp(log_none).sum())
    one, other = (log_mixture((2 * z * v - v * v) / (2 * deviation**2), rate) for v in shifts)
    assert divergence(log_none, one, other, order) <= float(updates(1.5, rate).compute_renyi_divergence(order)) * (
        1 + 1e-9
    )


@pytest.mark.parametrize("order", [2, 7, 64, 256])
def test_everybody_counted_is_a_gaussian_of_half_the_noise(order: int) -> None:
    event = dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(3.0 / 2), 7)
    theirs = RdpAccountant([order]).compose(event)._rdp[0]
    assert float(updates(3.0, 1.0, 7).compute_renyi_divergence(order)) == pytest.approx(theirs, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.5, 40), st.floats(1e-4, 0.999), st.sampled_from([2, 4, 8, 32]))
def test_patient_pays_at_least_what_the_whole_site_does_and_at_most_as_if_all_counted(
    noise: float, rate: float, order: int
) -> None:
    one = updates(noise, rate)
    assert (
        one.whole_site.compute_renyi_divergence(order)
        <= one.compute_renyi_divergence(order)
        <= updates(noise, 1.0).compute_renyi_divergence(order) + Decimal("1e-40")
    )


def test_whole_site_is_the_sampled_gaussian() -> None:
    orders = list(ORDERS)
    step = dp_accounting.PoissonSampledDpEvent(0.3, dp_accounting.GaussianDpEvent(5.0))
    theirs = RdpAccountant(orders).compose(dp_accounting.SelfComposedDpEvent(step, 40)).get_epsilon(1e-5)
    assert epsilon_of([updates(5.0, 0.3, 40).whole_site], 1e-5) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("rate", [1.0, 0.5, 0.1])
def test_noise_fits_and_a_millionth_less_does_not(rate: float) -> None:
    noise = compute_site_noise_multiplier(3, 1e-4, rate, 50)
    assert epsilon_of([updates(noise, rate, 50)], 1e-4) <= 3

    def fits(candidate: float) -> bool:
        event = updates(candidate, rate)
        return any(50 * compute_charge(event, order) <= compute_renyi_limit(3, 1e-4, order) for order in ORDERS)

    assert fits(noise)
    assert not fits(noise - 1e-6)


def test_noise_without_sampling_is_twice_that_of_as_many_gaussians() -> None:
    sites = compute_site_noise_multiplier(3, 1e-4, 1.0, 50)
    gaussians = [SampledGaussian(noise_multiplier=sites / 2, sampling_rate=1, steps=50)]
    assert 3 - 1e-5 < epsilon_of(gaussians, 1e-4) <= 3


def test_noise_that_nothing_reaches_is_refused() -> None:
    with pytest.raises(BudgetError, match="for 10 rounds of whole sites' updates: ask for"):
        compute_site_noise_multiplier(0.0001, 1e-9, 0.5, 10)


def test_sampled_charge_is_of_second_order_in_the_rate() -> None:
    """Ten times fewer rounds to count in cost a hundred times less: joint convexity alone would give ten."""
    often, seldom = (float(updates(10, rate).compute_renyi_divergence(4)) for rate in (0.1, 0.01))
    assert often / seldom == pytest.approx(100, rel=0.01)


def test_least_charge_is_a_unit() -> None:
    assert compute_charge(updates(1e6, 1e-6), 2) == 1
    assert updates(1e6, 1e-6).compute_renyi_divergence(2) * NANO < 1


def test_no_loss_distribution_is_given() -> None:
    with pytest.raises(BudgetError, match="a site-updates event has no privacy loss distribution"):
        pld.compute_pld_epsilon([updates(5, 1.0)], 1e-5)
