"""Individual filters: nobody passes the limit, whoever chooses the steps, and nobody's share depends on the others."""

from fractions import Fraction
from functools import lru_cache

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmarks.individual_filters import NOISE, PAID_STEPS, measure
from privacy.accounting.epsilon import compute_stored_curve, epsilon_of
from privacy.accounting.events import Gaussian, IndividualGaussian, SampledGaussian, repeat_event
from privacy.accounting.individual_filter import PARTS, IndividualFilter
from privacy.accounting.pld import compute_pld_epsilon
from privacy.accounting.renyi import NANO, STORED_ORDERS

WHOLE = PARTS**2
EVENT = IndividualGaussian(noise_multiplier=4.0, paid_steps=8, steps=100)


def admit(kept: IndividualFilter, *lengths: float) -> list[bool]:
    """Take a step with these lengths, and return who took part."""
    admitted = kept.admit(np.array(lengths))
    kept.settle()
    return [bool(each) for each in admitted]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5), max_size=40),
    st.integers(1, 6),
)
def test_nobody_spends_more_than_the_limit_whatever_the_steps(steps: list[list[float]], paid_steps: int) -> None:
    kept, truth = IndividualFilter(5, paid_steps), [Fraction(0)] * 5
    for lengths in steps:
        for patient, admitted in enumerate(admit(kept, *lengths)):
            truth[patient] += Fraction(lengths[patient]) ** 2 * admitted
    assert all(spent <= paid_steps for spent in truth)
    assert all(spent <= Fraction(int(said), WHOLE) for spent, said in zip(truth, kept.spent, strict=True))


def test_patients_with_full_gradients_take_the_known_eight_steps() -> None:
    """As the filter of a grant: at order 8 and noise 4, eight of them have the divergence 2."""
    kept = IndividualFilter(3, PAID_STEPS)
    taken = np.array([admit(kept, 1.0, 0.5, 0.0) for _ in range(60)])
    assert taken.sum(0).tolist() == [8, 32, 60]
    assert Gaussian(noise_multiplier=NOISE, count=1).compute_renyi_divergence(8) * 8 == 2


def test_share_of_a_patient_does_not_depend_on_the_others() -> None:
    random = np.random.default_rng(1)
    alone, together = IndividualFilter(1, 6), IndividualFilter(5, 6)
    for lengths in random.random((30, 5)).tolist():
        assert admit(alone, lengths[0])[0] == admit(together, *lengths)[0]


def test_refused_step_costs_nothing_and_a_cheaper_one_is_admitted_later() -> None:
    kept = IndividualFilter(1, 4)
    assert [admit(kept, 0.9)[0] for _ in range(5)] == [True] * 4 + [False]
    before = kept.spent.copy()
    assert admit(kept, 1.0) == [False]
    assert kept.spent == before
    assert admit(kept, 0.5) == [True]


def test_step_that_is_computed_again_is_charged_once_by_its_last_lengths() -> None:
    kept = IndividualFilter(4, 1)
    kept.admit(np.ones(4))
    kept.admit(np.array([0.5, 0.25]), np.array([3, 1]))
    kept.admit(np.array([0.0, 1.0]), np.array([0, 2]))
    kept.settle()
    assert kept.spent.tolist() == [0, WHOLE // 16, WHOLE, WHOLE // 4]
    kept.settle()
    assert kept.spent.tolist() == [0, WHOLE // 16, WHOLE, WHOLE // 4]


@pytest.mark.parametrize("length", [np.nan, np.inf, 7.0])
def test_length_that_is_no_clipped_one_counts_as_the_norm(length: float) -> None:
    kept = IndividualFilter(1, 8)
    admit(kept, length)
    assert kept.spent[0] == WHOLE


def test_event_costs_what_the_paid_steps_of_full_length_cost_by_another_accountant() -> None:
    assert compute_stored_curve(EVENT) == compute_stored_curve(
        SampledGaussian(noise_multiplier=4.0, sampling_rate=1, steps=8)
    )
    with mpmath.workdps(40):
        expected = [mpmath.ceil(mpmath.mpf(order) * 8 / 32 * NANO) for order in STORED_ORDERS]
    assert list(compute_stored_curve(EVENT) or ()) == expected
    other = RdpAccountant(range(2, 257)).compose(dp_event.GaussianDpEvent(4.0), 8)
    assert epsilon_of([EVENT], 1e-5) == pytest.approx(other.get_epsilon(1e-5), rel=1e-9)


def test_product_of_likelihood_ratios_of_an_adaptive_patient_stays_below_the_curve() -> None:
    """The theorem's step, integrated: the second length depends on the first sum, and the limit is spent either way."""
    noise, limit, order = 1.5, 2.0, 5

    def second(first: float) -> float:  # what is left, or a part of it, by what the first sum came to
        return float(np.sqrt(limit - 1.0)) if first > 0.3 else 0.4

    def ratio(value: mpmath.mpf, length: float) -> mpmath.mpf:
        """Of the densities with the patient and without, to the power ``order``, times the density without."""
        with_, without = mpmath.npdf(value, length, noise), mpmath.npdf(value, 0, noise)
        return (with_ / without) ** order * without

    @lru_cache
    def after(length: float) -> mpmath.mpf:
        return mpmath.quad(lambda value: ratio(value, length), [-40, 0, 10, 40])

    whole = mpmath.quad(
        lambda first: ratio(first, 1.0) * after(second(float(first))), [-30, 0, 0.3, 5, 10, 30], maxdegree=5
    )
    divergence = mpmath.log(whole) / (order - 1)
    claimed = IndividualGaussian(noise_multiplier=noise, paid_steps=2, steps=2).compute_renyi_divergence(order)
    assert 0.5 * float(claimed) < divergence <= float(claimed)


def test_loss_distribution_of_the_event_is_that_of_its_paid_steps() -> None:
    assert compute_pld_epsilon([EVENT], 1e-5) == compute_pld_epsilon(
        [SampledGaussian(noise_multiplier=4.0, sampling_rate=1, steps=8)], 1e-5
    )


def test_two_studies_pay_for_both() -> None:
    assert repeat_event(EVENT, 3) == EVENT.model_copy(update={"paid_steps": 24, "steps": 300})


def test_event_refuses_to_pay_for_more_steps_than_are_taken() -> None:
    with pytest.raises(ValidationError, match="nobody can spend more than the 7 steps"):
        IndividualGaussian(noise_multiplier=4.0, paid_steps=8, steps=7)


def test_individual_filters_take_part_for_longer_at_the_same_epsilon() -> None:
    found = measure(seed=1, steps=40)
    assert found["steps, one filter for all"] == 8
    assert found["patients still in after 40 steps"] > 0.3
