"""Individual filters: nobody passes the limit, whoever chooses the steps, and nobody's share depends on the others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.individual_filters import LIMIT, ORDER, measure
from privacy.accounting.epsilon import compute_charge
from privacy.accounting.events import Gaussian, SampledGaussian
from privacy.accounting.individual_filter import IndividualFilter
from privacy.accounting.renyi import NANO


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 999), st.sampled_from([1.0, 4.0]), st.sampled_from([0.1, 1.0])), max_size=12)
)
def test_nobody_spends_more_than_the_limit_whatever_the_steps(steps: list[tuple[int, float, float]]) -> None:
    kept = IndividualFilter(6, 8, 2 * NANO)
    truth = np.zeros(6)
    for seed, noise, rate in steps:
        lengths = np.random.default_rng(seed).random(6)
        admitted = kept.admit(lengths, noise, rate)
        for patient in np.flatnonzero(admitted):
            exact = SampledGaussian(
                noise_multiplier=noise / max(lengths[patient], 1e-3), sampling_rate=rate, steps=1
            )
            truth[patient] += float(exact.compute_renyi_divergence(8))
    assert (kept.spent <= 2 * NANO).all()
    assert (truth <= kept.spent / NANO + 1e-6).all()


def test_patients_with_full_gradients_take_the_known_eight_steps() -> None:
    """As the filter of a grant: order 8, budget 2, noise 4, full batches."""
    kept = IndividualFilter(3, 8, 2 * NANO)
    taken = np.array([kept.admit(np.array([1.0, 0.5, 0.0]), 4.0, 1.0) for _ in range(60)])
    assert taken.sum(0).tolist() == [8, 32, 60]
    assert 8 * compute_charge(Gaussian(noise_multiplier=4, count=1), 8) == kept.spent[0] == 2 * NANO


def test_share_of_a_patient_does_not_depend_on_the_others() -> None:
    random = np.random.default_rng(1)
    lengths = random.random((30, 5))
    alone, together = IndividualFilter(1, 8, NANO), IndividualFilter(5, 8, NANO)
    for each in lengths:
        assert alone.admit(each[:1], 4.0, 1.0)[0] == together.admit(each, 4.0, 1.0)[0]


def test_refused_step_costs_nothing_and_a_cheaper_one_is_admitted_later() -> None:
    kept = IndividualFilter(1, 8, NANO)
    for _ in range(4):
        assert kept.admit(np.ones(1), 4.0, 1.0)[0]
    before = kept.spent.copy()
    assert not kept.admit(np.ones(1), 4.0, 1.0)[0]
    assert kept.spent == before
    assert kept.admit(np.zeros(1), 4.0, 1.0)[0]


@pytest.mark.parametrize("length", [np.nan, np.inf, 7.0])
def test_length_that_is_no_clipped_one_counts_as_the_norm(length: float) -> None:
    kept = IndividualFilter(1, 8, NANO)
    kept.admit(np.array([length]), 4.0, 1.0)
    assert kept.spent[0] == compute_charge(Gaussian(noise_multiplier=4, count=1), 8)


def test_individual_filters_take_part_for_longer_at_the_same_epsilon() -> None:
    found = measure(seed=1, steps=40)
    assert found["steps, one filter for all"] == 8
    assert found["patients still in after 40 steps"] > 0.3
    assert LIMIT == 2 * NANO
    assert ORDER == 8
