"""Noise on shared parameters: sensitivity, composition, and what it does to the gain of sharing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.shared_parameters import EPSILON, Hospital, list_totals, make_hospitals, measure
from privacy.accounting.epsilon import epsilon_of
from privacy.mechanisms.noised_parameters import SENSITIVITY, compute_upload_noise, make_event, make_upload
from privacy.randomness import KeyStream

KEY = b"a key of 32 bytes, for tests now"
finite = st.floats(-1e30, 1e30)


@given(st.lists(finite, min_size=3, max_size=3), st.lists(finite, min_size=3, max_size=3))
def test_any_other_update_moves_an_upload_by_at_most_two_norms(one: list[float], other: list[float]) -> None:
    uploads = [make_upload(np.array(each), 0.5, 3.0, KeyStream(KEY)) for each in (one, other)]
    # the same stream, so the noise cancels
    assert np.linalg.norm(uploads[0] - uploads[1]) <= SENSITIVITY * 0.5 + 1e-12


def test_update_that_is_not_finite_counts_as_zero_and_is_noised() -> None:
    broken, zero = (make_upload(np.full(4, value), 1.0, 2.0, KeyStream(KEY)) for value in (np.nan, 0.0))
    np.testing.assert_array_equal(broken, zero)
    assert broken.all()


def test_upload_has_the_noise_that_was_asked_for() -> None:
    upload = make_upload(np.zeros(40_000), 0.5, 3.0, KeyStream(KEY))
    assert upload.std() == pytest.approx(1.5, rel=0.02)


def test_noise_is_the_analytic_one_over_a_sensitivity_of_two_norms() -> None:
    assert compute_upload_noise(1.0, 1e-5, 1) == pytest.approx(2 * 3.730632, abs=3e-6)


def test_guarantee_of_each_upload_does_not_compose_by_itself() -> None:
    once, forty = (compute_upload_noise(8.0, 1e-5, uploads) for uploads in (1, 40))
    assert epsilon_of([make_event(once, 40)], 1e-5) > 100
    assert epsilon_of([make_event(forty, 40)], 1e-5) < 1.1 * 8
    assert list_totals()["each upload"] == epsilon_of([make_event(once, 40)], 1e-5)


def test_sharing_gains_and_the_price_of_protecting_whole_clients_is_the_gain() -> None:
    """Five skewed hospitals of generated images; a small form of ``benchmarks/shared_parameters.py``."""
    hospitals, test = make_generated_hospitals(seed=1)
    found = measure(hospitals, test, seed=1, rounds=8)
    assert found["together"] > found["alone"] + 0.1
    # within 2 points of no noise, at the epsilon of one patient for all steps
    assert found["patients"] > found["together"] - 0.02
    assert found["all uploads"] < found["together"] - 0.1
    assert list_totals(8)["patients"] < 1.1 * EPSILON


def make_generated_hospitals(seed: int) -> tuple[list[Hospital], Hospital]:
    random = np.random.default_rng(seed)
    labels = (np.arange(900) % 2).astype(np.float32)
    images = 0.6 * random.standard_normal((900, 1, 8, 8)).astype(np.float32)
    images[:, 0, :4] += 0.5 * (2 * labels - 1)[:, None, None]
    return make_hospitals(images[:600], labels[:600], 100, seed), Hospital(images[600:], labels[600:])
