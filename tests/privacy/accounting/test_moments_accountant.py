"""The classic moments accountant against quadrature in both directions, dp-accounting, and the paper's figures."""

import math

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import RdpAccountant
from scipy.integrate import quad
from scipy.stats import norm

from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import SampledGaussian
from privacy.accounting.moments_accountant import MOMENTS, compute_log_moment, compute_moments_epsilon
from privacy.errors import BudgetError


@pytest.mark.parametrize(("steps", "expected"), [(10_000, 1.2586), (1000, 0.4684)])
def test_figures_of_the_paper_are_reproduced(steps: int, expected: float) -> None:
    assert compute_moments_epsilon(4.0, 0.01, steps, 1e-5) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("noise", "rate"), [(4.0, 0.01), (1.1, 0.05), (2.0, 0.3)])
@pytest.mark.parametrize("moment", [1, 2, 7])
def test_log_moment_is_the_larger_of_both_integrals(noise: float, rate: float, moment: int) -> None:
    def absent(x: float) -> float:
        return float(norm.pdf(x, 0, noise))

    def present(x: float) -> float:
        return float((1 - rate) * absent(x) + rate * norm.pdf(x, 1, noise))

    reach = 12 * noise + 2 * moment
    of_absence = quad(lambda x: absent(x) * (absent(x) / present(x)) ** moment, -reach, reach, limit=200)[0]
    of_presence = quad(lambda x: present(x) * (present(x) / absent(x)) ** moment, -reach, reach, limit=200)[0]
    ours = float(compute_log_moment(noise, rate, 1, moment))
    assert ours == pytest.approx(math.log(max(of_absence, of_presence)), rel=1e-6, abs=1e-10)


@pytest.mark.parametrize(
    ("noise", "rate", "steps"), [(4.0, 0.01, 10_000), (1.1, 256 / 60_000, 14_062), (3.0, 1, 5)]
)
def test_log_moments_are_dp_accountings(noise: float, rate: float, steps: int) -> None:
    orders = [moment + 1 for moment in MOMENTS]
    accountant = RdpAccountant(orders)
    accountant.compose(SelfComposedDpEvent(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)), steps))
    theirs = [divergence * moment for divergence, moment in zip(accountant._rdp, MOMENTS, strict=True)]
    ours = [float(compute_log_moment(noise, rate, steps, moment)) for moment in MOMENTS]
    assert ours == pytest.approx(theirs, rel=1e-7)


@pytest.mark.parametrize(("noise", "rate", "steps"), [(4.0, 0.01, 10_000), (2.0, 0.1, 50), (1.0, 1.0, 3)])
def test_what_is_charged_is_never_more(noise: float, rate: float, steps: int) -> None:
    event = SampledGaussian(noise_multiplier=noise, sampling_rate=rate, steps=steps)
    assert epsilon_of([event], 1e-5) <= compute_moments_epsilon(noise, rate, steps, 1e-5)


def test_epsilon_is_never_below_zero_and_delta_is_checked() -> None:
    assert compute_moments_epsilon(1e6, 0.01, 1, 0.999999999) < 1e-9
    with pytest.raises(BudgetError, match="expected 0 < delta < 1, got 0"):
        compute_moments_epsilon(4.0, 0.01, 1, 0.0)
