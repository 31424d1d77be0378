"""Noise on shared parameters: sensitivity, composition, and what it does to the gain of sharing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.privacy_systems_studies import (
    CHEST,
    EPSILON,
    deal_patients,
    make_federation,
    make_image_network,
    read_images,
    score,
    train_locally,
)
from benchmarks.shared_parameters import list_totals, measure, take_mean, train_together
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.plan import Planned, Purpose
from privacy.errors import BudgetError
from privacy.mechanisms.noised_parameters import SENSITIVITY, compute_upload_noise, make_event, make_upload
from privacy.randomness import KeyStream
from tests.privacy.ledger_makers import POPULATION, TERMS, granted_ledger
from tests.privacy.mechanisms.trained_federation import make_generated_federation

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


def test_uploads_are_composed_in_a_sites_ledger(tmp_path: Path) -> None:
    """Each upload is a round of the plan: five of epsilon 2 each are refused, five of 2 together admitted."""
    each, all_five = (make_event(compute_upload_noise(2.0, 1e-3, uploads), 1) for uploads in (1, 5))
    with granted_ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(BudgetError, match="is left of 3"):
            ledger.allow("each", POPULATION, [Planned(purpose=Purpose.TRAIN, event=each, times=5)], TERMS)
        ledger.allow("all", POPULATION, [Planned(purpose=Purpose.TRAIN, event=all_five, times=5)], TERMS)
        for upload in range(1, 6):
            ledger.reserve("all", upload, all_five)
        with pytest.raises(BudgetError):
            ledger.reserve("all", 6, all_five)
        account = ledger.read_state().find_account_of_study("all")
        assert account.compute_study_epsilon("all", 1e-3) == epsilon_of([all_five] * 5, 1e-3)
        assert (
            2 < epsilon_of([all_five] * 5, 1e-3) < 1.2 * 2
        )  # the ledger charges a little more than the exact mechanism costs


@pytest.mark.skipif(not CHEST.is_file(), reason=f"needs PneumoniaMNIST in {CHEST}")
def test_sharing_gains_on_skewed_chest_radiographs() -> None:
    """A quarter of the benchmark's rounds: five hospitals of 100 radiographs, nearly all of one class in each."""
    (images, labels), test = read_images(CHEST)
    torch.manual_seed(1)
    made = make_federation(deal_patients(images, labels, 100, 1), test, make_image_network(28), rate=0.1)
    alone = [score(made, train_locally(made, made.start, each, 50, made.rate)) for each in made.hospitals]
    assert score(made, train_together(made, made.start, 10, take_mean)) > np.mean(alone) + 0.15


def test_sharing_gains_and_the_price_of_protecting_whole_clients_is_the_gain() -> None:
    """Five skewed hospitals of generated images; a small form of ``benchmarks/shared_parameters.py``."""
    found = measure(make_generated_federation(seed=1), seed=1, rounds=8)
    assert found["together"] > found["alone"] + 0.1
    # within 2 points of no noise, at the epsilon of one patient for all steps
    assert found["patients"] > found["together"] - 0.02
    assert found["all uploads"] < found["together"] - 0.1
    assert list_totals(8)["patients"] < 1.1 * EPSILON
