"""Privacy loss distributions against published figures, closed forms, plain sums and another accountant."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from opacus.accountants import PRVAccountant
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import norm

from privacy.accounting import epsilon as accountant
from privacy.accounting import pld
from privacy.accounting.events import AnyEvent, BoundedContribution, Gaussian, Laplace, SampledGaussian, Unprotected
from privacy.accounting.pld import Certainty
from privacy.errors import BudgetError

ROOT = Path(__file__).parents[3]


def sampled(noise: float, rate: float, steps: int) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=noise, sampling_rate=rate, steps=steps)


def records(noise: float, rate: float, each: int, steps: int) -> BoundedContribution:
    return BoundedContribution(noise_multiplier=noise, sampling_rate=rate, records_per_patient=each, steps=steps)


def solved(delta_of: Callable[[float], float], delta: float) -> float:
    """The epsilon at which ``delta_of`` comes to ``delta``."""
    return float(brentq(lambda epsilon: delta_of(epsilon) - delta, 0, 1000, xtol=1e-12))


def gaussian_delta(noise: float, epsilon: float) -> float:
    """The analytic Gaussian mechanism (arXiv 1805.06530, equation 6)."""
    a, b = 0.5 / noise, epsilon * noise
    return float(norm.cdf(a - b) - math.exp(epsilon + norm.logcdf(-a - b)))


def integer_delta(noise: float, epsilon: float) -> float:
    """The discrete Gaussian and its neighbour by 1, summed term by term (arXiv 2004.00010, theorem 7)."""
    x = np.arange(-math.ceil(40 * noise), math.ceil(40 * noise) + 1)
    log_mass = -(x**2) / (2 * noise**2)
    log_mass = log_mass - logsumexp(log_mass)
    log_ratio = (1 - 2 * x) / (2 * noise**2)  # of the mass at x to that at x - 1
    gain = np.where(log_ratio > epsilon, -np.expm1(np.minimum(epsilon - log_ratio, 0)), 0)
    return float(np.exp(log_mass) @ gain)


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "expected"),
    [
        (4, 0.01, 10_000, 0.9470),
        (8, 0.01, 10_000, 0.4375),
        (2, 0.01, 10_000, 2.1628),
        (1.1, 256 / 60_000, 14_062, 2.3817),
        (2, 0.01, 1000, 0.6220),
    ],
)
def test_epsilon_of_published_settings_is_dp_accountings(
    noise: float, rate: float, steps: int, expected: float
) -> None:
    """Origin: dp-accounting 0.6 with its own defaults, delta 1e-5; settings of Abadi et al. and TensorFlow Privacy."""
    assert pld.compute_pld_epsilon([sampled(noise, rate, steps)], 1e-5) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(("each", "expected"), [(2, 1.3326), (4, 2.8934), (8, 6.4602)])
def test_epsilon_of_several_records_is_dp_accountings_and_below_group_privacy(each: int, expected: float) -> None:
    """Origin: dp-accounting's mixture of Gaussians, q 0.01, noise 2, 1000 steps, delta 1e-5."""
    ours = pld.compute_pld_epsilon([records(2, 0.01, each, 1000)], 1e-5)
    assert expected - 6e-5 <= ours <= expected + 5e-4  # on a coarser grid of losses, so a little above

    def of_group(delta: float) -> float:
        """A group of ``each`` records, from the (epsilon, delta) of one: delta times 1 + e^epsilon + e^2 epsilon ..."""
        one = pld.compute_pld_epsilon([sampled(2, 0.01, 1000)], delta)
        return delta * math.expm1(each * one) / math.expm1(one)

    exponent = brentq(lambda log: math.log(of_group(math.exp(log)) / 1e-5), math.log(1e-9), math.log(1e-5))
    assert ours < each * pld.compute_pld_epsilon([sampled(2, 0.01, 1000)], math.exp(exponent)) < 1.2 * ours


@pytest.mark.filterwarnings("ignore:Optimal order is the largest alpha:UserWarning")
@pytest.mark.parametrize(
    ("noise", "rate", "steps"), [(2, 0.01, 1000), (0.8, 0.05, 50), (4, 0.2, 300), (1.5, 0.9, 3)]
)
def test_epsilon_of_sampled_gaussians_is_within_opacus_bounds(noise: float, rate: float, steps: int) -> None:
    """Gopi et al. 2021 (arXiv 2106.02848) bound the same quantity from both sides by other discretisation."""
    theirs = PRVAccountant()
    theirs.history = [(noise, rate, steps)]
    upper = theirs.get_epsilon(1e-5, eps_error=0.002)
    ours = pld.compute_pld_epsilon([sampled(noise, rate, steps)], 1e-5)
    assert upper - 0.0045 <= ours <= upper + 0.0005


@pytest.mark.filterwarnings("ignore:Optimal order is the largest alpha:UserWarning")
def test_epsilon_of_different_studies_together_is_within_opacus_bounds() -> None:
    theirs = PRVAccountant()
    theirs.history = [(2, 0.05, 100), (1.2, 0.02, 40), (6, 0.5, 10)]
    upper = theirs.get_epsilon(1e-5, eps_error=0.002)
    ours = pld.compute_pld_epsilon([sampled(*each) for each in theirs.history], 1e-5)
    assert upper - 0.0045 <= ours <= upper + 0.0005


@pytest.mark.parametrize(("noise", "expected"), [(3.730632, 1), (7.031827, 0.5), (0.600229, 8)])
def test_epsilon_of_one_full_batch_is_the_analytic_gaussians(noise: float, expected: float) -> None:
    """Origin: the noise of the analytic Gaussian mechanism at delta 1e-5, computed with dp-accounting."""
    exact = solved(lambda epsilon: gaussian_delta(noise, epsilon), 1e-5)
    assert exact == pytest.approx(expected, abs=2e-5)
    assert exact - 1e-9 <= pld.compute_pld_epsilon([sampled(noise, 1, 1)], 1e-5) < exact + 1e-5


@pytest.mark.parametrize("noise", [1.0, 2.0, 5.0, 20.0, 300.0, 1500.0])
def test_epsilon_of_totals_covers_real_and_integer_noise(noise: float) -> None:
    real = solved(lambda epsilon: gaussian_delta(noise, epsilon), 1e-5)
    integer = solved(lambda epsilon: integer_delta(noise, epsilon), 1e-5)
    ours = pld.compute_pld_epsilon([Gaussian(noise_multiplier=noise, count=1)], 1e-5)
    assert max(real, integer) - 1e-9 <= ours < max(real, integer) + 2e-4


def test_epsilon_of_integer_noise_can_be_above_that_of_real_noise() -> None:
    # why totals are priced twice: the Renyi curve orders the two the other way round
    real = solved(lambda epsilon: gaussian_delta(1, epsilon), 1e-5)
    integer = solved(lambda epsilon: integer_delta(1, epsilon), 1e-5)
    assert integer > real + 0.05


def test_epsilon_of_integer_noise_twice_is_the_plain_sum() -> None:
    noise, x = 2.0, np.arange(-60, 61)
    log_mass = -(x**2) / (2 * noise**2)
    log_mass = log_mass - logsumexp(log_mass)
    log_ratio = (1 - 2 * x) / (2 * noise**2)
    masses = np.exp(log_mass[:, None] + log_mass[None, :])
    ratios = log_ratio[:, None] + log_ratio[None, :]

    def delta_of(epsilon: float) -> float:
        return float(np.sum(masses * np.where(ratios > epsilon, -np.expm1(np.minimum(epsilon - ratios, 0)), 0)))

    exact = solved(delta_of, 1e-5)
    ours = pld.compute_pld_epsilon([Gaussian(noise_multiplier=noise, count=2)], 1e-5)
    assert exact - 1e-9 <= ours < exact + 5e-4


@pytest.mark.parametrize("scale", [0.5, 1.0, 10.0])
def test_epsilon_of_one_laplace_is_the_closed_form(scale: float) -> None:
    # delta = 1 - exp((epsilon - 1/scale) / 2)
    exact = 1 / scale + 2 * math.log1p(-1e-3)
    assert exact - 1e-9 <= pld.compute_pld_epsilon([Laplace(scale=scale, count=1)], 1e-3) < exact + 1e-4


@pytest.mark.parametrize("parts", [(0.5, 0.5), (0.9, 0.1), (0.25, 0.25, 0.5)])
def test_patient_who_changes_one_total_is_the_worst_for_laplace(parts: tuple[float, ...]) -> None:
    # one patient's 1, in the L1 norm, spread over several totals: what the event counts as one total
    for delta in (1e-1, 1e-3, 1e-6):
        spread = pld.compute_pld_epsilon([Laplace(scale=2 / part, count=1) for part in parts], delta)
        assert spread <= pld.compute_pld_epsilon([Laplace(scale=2, count=1)], delta) + 1e-4


@pytest.mark.parametrize(("noise", "rate", "each"), [(3.0, 0.6, 2), (2.0, 0.05, 3)])
def test_epsilon_of_several_records_covers_both_directions(noise: float, rate: float, each: int) -> None:
    drawn = np.arange(each + 1)
    weights = np.array([math.comb(each, i) * rate**i * (1 - rate) ** (each - i) for i in drawn])
    x = np.linspace(-20 * noise, 20 * noise + each, 40_001)
    without = norm.logpdf(x, scale=noise)
    present = logsumexp(norm.logpdf(x[:, None], loc=drawn, scale=noise) + np.log(weights), axis=1)

    def delta_of(epsilon: float) -> float:
        return max(
            float(np.trapezoid(np.exp(p) * -np.expm1(np.minimum(epsilon + n - p, 0)), x))
            for p, n in ((present, without), (without, present))
        )

    exact = solved(delta_of, 1e-4)
    ours = pld.compute_pld_epsilon([records(noise, rate, each, 1)], 1e-4)
    assert exact - 1e-6 <= ours < exact + 4e-4


@pytest.mark.parametrize("each", [1, 5])
def test_epsilon_of_records_all_drawn_is_a_gaussian_that_much_louder(each: int) -> None:
    exact = solved(lambda epsilon: gaussian_delta(10 / each / math.sqrt(3), epsilon), 1e-5)
    assert exact - 1e-9 <= pld.compute_pld_epsilon([records(10, 1, each, 3)], 1e-5) < exact + 1e-5


def test_epsilon_of_one_record_a_patient_is_the_sampled_gaussians() -> None:
    one = pld.compute_pld_epsilon([records(2, 0.05, 1, 100)], 1e-5)
    assert one == pytest.approx(pld.compute_pld_epsilon([sampled(2, 0.05, 100)], 1e-5), abs=1e-6)


MIXED: list[AnyEvent] = [
    sampled(2, 0.05, 100),
    Gaussian(noise_multiplier=20, count=3),
    Laplace(scale=30, count=2),
    records(8, 0.05, 2, 10),
]


def test_epsilon_of_mixed_events_is_below_the_curve_and_above_every_part() -> None:
    together = pld.compute_pld_epsilon(MIXED, 1e-5)
    assert (
        max(pld.compute_pld_epsilon([event], 1e-5) for event in MIXED)
        < together
        < accountant.epsilon_of(MIXED, 1e-5)
    )


def test_equal_events_are_priced_alike_however_they_are_listed() -> None:
    listed: list[AnyEvent] = [sampled(2, 0.05, 10)] * 10
    listed += [Gaussian(noise_multiplier=20, count=1)] * 3
    summed: list[AnyEvent] = [Gaussian(noise_multiplier=20, count=3), sampled(2, 0.05, 100)]
    assert pld.compute_pld_epsilon(listed, 1e-5) == pytest.approx(pld.compute_pld_epsilon(summed, 1e-5), abs=1e-9)


def test_many_small_steps_are_told_apart_finely_enough() -> None:
    # a million steps of which each loses less than the usual interval
    events = [sampled(2, 1e-3, 10**6)]
    assert 2.13 < pld.compute_pld_epsilon(events, 1e-5) < 2.145 < accountant.epsilon_of(events, 1e-5)


def test_large_loss_is_told_apart_coarsely() -> None:
    exact = solved(lambda epsilon: gaussian_delta(0.05, epsilon), 1e-5)
    assert exact - 1e-9 <= pld.compute_pld_epsilon([sampled(0.05, 1, 1)], 1e-5) < exact + 0.01


def test_epsilon_of_nothing_is_zero() -> None:
    assert pld.compute_pld_epsilon([], 1e-5) == 0


def test_event_without_noise_is_refused() -> None:
    with pytest.raises(BudgetError, match="unprotected event has no privacy loss distribution"):
        pld.compute_pld_epsilon([sampled(2, 0.05, 10), Unprotected()], 1e-5)


@pytest.mark.parametrize("delta", [0, 1, 1e-12, math.nan])
def test_delta_that_rounding_would_drown_is_refused(delta: float) -> None:
    with pytest.raises(BudgetError, match=r"needs 1e-10 <= delta < 1, got"):
        pld.compute_pld_epsilon([sampled(2, 0.05, 10)], delta)


def test_loss_beyond_all_use_is_refused() -> None:
    with pytest.raises(BudgetError, match="an epsilon beyond 100000"):
        pld.compute_pld_epsilon([Gaussian(noise_multiplier=0.01, count=10**6)], 1e-5)


@pytest.mark.parametrize(
    ("studies", "words"),
    [
        (0, "exact for a study fixed in advance"),
        (1, "exact for a study fixed in advance"),
        (2, "estimate across studies chosen one after another"),
    ],
)
def test_figure_is_labelled_by_how_many_studies_it_is_of(studies: int, words: str) -> None:
    assert Certainty.from_study_count(studies) == words


def test_dp_accounting_is_imported_when_a_figure_is_asked_for() -> None:
    code = "import privacy.accounting.pld, sys; print({'dp_accounting', 'numpy', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "set()\n"
