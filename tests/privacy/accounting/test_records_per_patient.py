"""The mixture of Gaussians, against quadrature in both directions, its known values and its limits."""

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import logsumexp

from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import BoundedContribution, SampledGaussian
from privacy.accounting.records_per_patient import compute_several_records_divergence
from privacy.accounting.renyi import STORED_ORDERS


def divergence(noise: float, rate: float, records: int, order: int, power: int) -> float:
    """Log E_N[(P/N)^power] / (order - 1) by adaptive quadrature, piece by piece around the integrand's peak.

    ``power`` is the order for the divergence of presence from absence, and 1 - order for the other direction.
    """
    drawn = np.arange(records + 1)
    log_weights = (
        np.array([math.log(math.comb(records, i)) for i in drawn])
        + drawn * math.log(rate)
        + (records - drawn) * math.log1p(-rate)
    )

    def log_integrand(x: float) -> float:  # x in standard deviations
        log_ratio = logsumexp(log_weights + drawn / noise * x - (drawn / noise) ** 2 / 2)
        return float(power * log_ratio - x**2 / 2 - math.log(2 * math.pi) / 2)

    reach = math.ceil(40 + order * records / noise)
    edges = np.arange(-2 * reach, 2 * reach) / 2
    heights = [log_integrand(x) for x in edges]
    peak = max(heights)
    pieces = [
        quad(lambda x: math.exp(log_integrand(x) - peak), left, left + 0.5, epsabs=1e-16, epsrel=1e-12)[0]
        for left, height in zip(edges, heights, strict=True)
        if height > peak - 60
    ]
    return (peak + math.log(math.fsum(pieces))) / (order - 1)


CASES = [
    (noise, rate, records, order)
    for noise, rate, records in (
        (2.0, 0.01, 2),
        (2.0, 0.01, 8),
        (1.0, 0.1, 3),
        (0.7, 0.3, 2),
        (4.0, 0.05, 4),
        (8.0, 0.5, 5),
        (3.0, 0.001, 16),
        (10.0, 0.95, 2),
    )
    for order in (2, 3, 8, 20)
]


@pytest.mark.parametrize(("noise", "rate", "records", "order"), CASES)
def test_mixture_is_the_larger_of_both_integrals(noise: float, rate: float, records: int, order: int) -> None:
    present = divergence(noise, rate, records, order, order)
    absent = divergence(noise, rate, records, order, 1 - order)
    exact = max(present, absent)
    ours = float(compute_several_records_divergence(noise, rate, records, order))
    # what is raised is a relative 1e-12 of the moment, so an absolute 1e-12 of its logarithm
    assert exact * (1 - 1e-9) - 1e-13 <= ours <= exact * (1 + 1e-9) + 3e-12


@pytest.mark.parametrize("order", [64, 256])
def test_mixture_at_high_orders_is_the_larger_of_both_integrals(order: int) -> None:
    exact = max(divergence(4.0, 0.02, 3, order, power) for power in (order, 1 - order))
    assert float(compute_several_records_divergence(4.0, 0.02, 3, order)) == pytest.approx(exact, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.4, 20), st.floats(1e-4, 0.99), st.sampled_from([2, 3, 6, 12, 40]))
def test_mixture_of_one_record_is_the_sampled_gaussian(noise: float, rate: float, order: int) -> None:
    known = SampledGaussian(noise_multiplier=noise, sampling_rate=rate, steps=1).compute_renyi_divergence(order)
    ours = compute_several_records_divergence(noise, rate, 1, order)
    assert known <= ours
    assert float(ours) == pytest.approx(float(known), rel=1e-9, abs=3e-12)


@settings(max_examples=20, deadline=None)
@given(st.floats(1, 20), st.floats(1e-3, 0.3), st.integers(1, 5), st.sampled_from([2, 8, 24]))
def test_patient_with_another_record_costs_more_up_to_one_whose_records_are_all_drawn(
    noise: float, rate: float, records: int, order: int
) -> None:
    def rho(each: int, rate: float = rate) -> Decimal:
        event = BoundedContribution(noise_multiplier=noise, sampling_rate=rate, records_per_patient=each, steps=1)
        return event.compute_renyi_divergence(order)

    assert rho(records) <= rho(records + 1) <= rho(records + 1, rate=1.0)


@pytest.mark.parametrize("records", [2, 4])
def test_patient_drawn_as_a_whole_costs_more_than_by_records_drawn_one_by_one(records: int) -> None:
    # the same expected number of their records in a step, but all at once
    by_record = BoundedContribution(noise_multiplier=8, sampling_rate=0.05, records_per_patient=records, steps=100)
    whole = SampledGaussian(noise_multiplier=8 / records, sampling_rate=0.05, steps=100)
    assert epsilon_of([by_record], 1e-5, STORED_ORDERS) < epsilon_of([whole], 1e-5, STORED_ORDERS)


@pytest.mark.parametrize(("records", "known"), [(1, 0.6220), (2, 1.3326), (4, 2.8934), (8, 6.4602)])
def test_patient_of_several_records_costs_a_little_more_than_his_loss_distribution(
    records: int, known: float
) -> None:
    """Origin: dp-accounting's mixture of Gaussians, q 0.01, noise 2, 1000 steps, delta 1e-5 (see test_pld)."""
    event = BoundedContribution(noise_multiplier=2, sampling_rate=0.01, records_per_patient=records, steps=1000)
    assert known < epsilon_of([event], 1e-5, STORED_ORDERS) < 1.15 * known


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.999])
def test_mixture_whose_peak_is_far_out_is_still_the_larger_of_both_integrals(rate: float) -> None:
    # (N/P)^a is largest where a Gaussian alone weighs nothing: the nodes have to follow it there
    exact = max(divergence(10.0, rate, 6, 24, power) for power in (24, -23))
    assert float(compute_several_records_divergence(10.0, rate, 6, 24)) == pytest.approx(exact, rel=1e-9)


def test_mixture_with_the_least_noise_is_the_gaussian_of_all_records() -> None:
    # all but surely seen when all are drawn, so only the chance of that, q^k, is taken off
    ours = float(compute_several_records_divergence(0.01, 0.5, 3, 8))
    assert ours == pytest.approx(8 * 300**2 / 2 + 8 / 7 * 3 * math.log(0.5), rel=1e-12)
