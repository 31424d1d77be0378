"""Paired trainings in one process: steps and averages against plain numpy, and draws that do not follow epsilon."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.paired_seeds import PairedCohort, PairedSite, PairedStream
from benchmarks.small_study import CONTRACT, read_columns, small_terms, without_privacy, write_patients
from models.parameters.vector import Vector
from privacy.errors import TermsError
from privacy.study import Terms
from privacy.study.cost import compute_study_noise

ALL_PATIENTS = {"training": {"rounds": 3, "local_steps": 1, "sampling_rate": 1.0, "learning_rate": 0.5}}
SIZES = {"ash": 41, "birch": 60, "cedar": 87}


@pytest.fixture
def sites(tmp_path: Path) -> list[PairedSite]:
    return [
        PairedSite.read(
            small_terms(),
            name,
            write_patients(tmp_path / f"{name}.csv", size, f"{name}-", seed=size),
            write_patients(tmp_path / f"{name}-test.csv", 30, f"{name}-test-", seed=size + 1),
        )
        for name, size in SIZES.items()
    ]


def descend(first: Vector, sites: list[PairedSite], terms: Terms) -> Vector:
    """Descend the logistic loss of all patients by plain numpy; the bias is the last parameter."""
    columns = [read_columns(site.training) for site in sites]
    features = np.concatenate([np.c_[each, np.ones(len(each))] for each, _ in columns]).astype(np.float64)
    labels, model = np.concatenate([each for _, each in columns]), first.copy()
    public = sum(size // 10 * 10 for size in SIZES.values())
    for _ in range(terms.training.rounds):
        risk = 1 / (1 + np.exp(-features @ model))
        model -= terms.training.learning_rate * features.T @ (risk - labels) / public
    return model


def test_rounds_of_all_patients_are_plain_descent(sites: list[PairedSite]) -> None:
    terms = without_privacy(**ALL_PATIENTS)
    cohort = PairedCohort(terms, sites, seed=1)
    expected = descend(cohort.first, sites, terms)
    assert np.abs(expected - cohort.first).max() > 0.05  # there is something to learn
    # rounding to 16 bits of a range of 4 moves a round's mean by at most one of 2^-13
    np.testing.assert_allclose(cohort.train(), expected, atol=3 * 2.0**-13)


def test_noise_alone_differs_between_epsilons(sites: list[PairedSite]) -> None:
    # so short steps that the gradients of all are those of the first model; no gradient is as long as 4
    steps = {"training": {"rounds": 2, "local_steps": 4, "sampling_rate": 0.3, "learning_rate": 1e-4}}
    fine = {"secure_aggregation": {"value_range": 0.02, "bits": 24}}
    plain = PairedCohort(without_privacy(**steps, **fine), sites, seed=1).train()
    added = {}
    for epsilon in (3, 8):
        terms = small_terms(privacy={"epsilon": epsilon, "clipping_norm": 4.0}, **steps, **fine)
        added[epsilon] = (PairedCohort(terms, sites, seed=1).train() - plain) / compute_study_noise(terms)
    assert np.abs(added[3]).max() > 2e-5
    # the same normal deviates: what other lots would add is about as large as these
    np.testing.assert_allclose(added[3], added[8], rtol=0.01, atol=2e-7)


def test_another_seed_begins_and_draws_otherwise(sites: list[PairedSite]) -> None:
    terms = without_privacy(**ALL_PATIENTS)
    one, again, other = (PairedCohort(terms, sites, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.train(), again.train())
    assert not np.array_equal(one.first, other.first)


def test_shared_noise_takes_the_step_of_all_patients(sites: list[PairedSite]) -> None:
    terms = small_terms(
        privacy={"placement": "distributed", "epsilon": 100, "clipping_norm": 4.0},
        training={**ALL_PATIENTS["training"], "rounds": 1},
        secure_aggregation={"value_range": "auto", "bits": 24},
        evaluation={"rounds": [1]},
    )
    cohort = PairedCohort(terms, sites, seed=1)
    step, expected = cohort.train() - cohort.first, descend(cohort.first, sites, terms) - cohort.first
    # noise of sigma C in the sum; colluders aside, the sites together add half as much variance again
    deviation = terms.training.learning_rate * compute_study_noise(terms) * 4.0 * 1.5**0.5 / 180
    np.testing.assert_allclose(step, expected, atol=5 * deviation)
    assert np.abs(expected).max() > 10 * deviation


@given(count=st.integers(1, 50), noise=st.integers(0, 40000))
def test_normals_move_no_other_draw(count: int, noise: int) -> None:
    quiet, noisy = PairedStream(7, "ash", 1), PairedStream(7, "ash", 1)
    drawn = noisy.draw_uniform(count)
    noisy.draw_normal(noise)
    noisy.divide_normals(noise, 2)
    np.testing.assert_array_equal(drawn, quiet.draw_uniform(count))
    np.testing.assert_array_equal(noisy.draw_words(count), quiet.draw_words(count))


@pytest.mark.parametrize(
    ("terms", "named"),
    [
        (
            small_terms(privacy={"unit": "record"}, data={**CONTRACT, "records_per_patient": 2}),
            "privacy.unit",
        ),
        (small_terms(training={"control_variates": True}), "training.control_variates"),
    ],
)
def test_what_is_left_out_is_refused(terms: Terms, named: str, sites: list[PairedSite]) -> None:
    with pytest.raises(TermsError, match=named):
        PairedCohort(terms, sites, seed=1)
