"""Group privacy beside the exact prices of a patient with several records."""

import math

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant

from privacy.accounting.events import SampledGaussian
from privacy.accounting.group_privacy import compute_group_epsilon
from privacy.accounting.pld import compute_pld_epsilon
from privacy.errors import BudgetError

EVENT = SampledGaussian(noise_multiplier=2, sampling_rate=0.01, steps=1000)
DELTA = 1e-5


@pytest.mark.parametrize(
    ("records", "coarse", "mixture"), [(2, 1.3458, 1.3326), (4, 2.9685, 2.8934), (8, 7.1234, 6.4602)]
)
def test_epsilon_of_a_group_is_the_least_and_above_the_mixtures(
    records: int, coarse: float, mixture: float
) -> None:
    """``coarse`` was found on a grid of epsilons, and is up to 0.5 % above the least one."""
    naive = compute_group_epsilon(EVENT, records, DELTA)
    assert 0.995 * coarse < naive <= coarse
    accountant = PLDAccountant()
    step = PoissonSampledDpEvent(EVENT.sampling_rate, GaussianDpEvent(EVENT.noise_multiplier))
    accountant.compose(SelfComposedDpEvent(step, EVENT.steps))

    def grown(epsilon: float) -> float:
        return float(accountant.get_delta(epsilon / records)) * math.expm1(epsilon) / math.expm1(epsilon / records)

    assert grown(naive) <= DELTA * (1 + 1e-3)
    assert grown(naive * 0.999) > DELTA
    assert mixture < naive


def test_one_record_is_no_group() -> None:
    assert compute_group_epsilon(EVENT, 1, DELTA) == pytest.approx(0.6220, abs=5e-4)
    assert compute_pld_epsilon([EVENT], DELTA) == pytest.approx(0.6220, abs=1e-3)


def test_group_that_is_too_large_is_refused() -> None:
    with pytest.raises(BudgetError, match="no epsilon of a record gives 64 records"):
        compute_group_epsilon(SampledGaussian(noise_multiplier=0.8, sampling_rate=0.5, steps=1), 64, 1e-9)
