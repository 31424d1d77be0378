import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from benchmarks.small_study import make_patients, small_terms
from client.data.examples import Patients
from client.training.scoring import add_noise_to_counts, count_scores
from models.parameters.flatten import set_shared_parameters
from models.tasks.binary import BinaryTask
from privacy.randomness import KeyStream
from privacy.study import Terms
from tests.models.tables import build_for_table

KEY = b"a key of 32 bytes, for tests now"


def logit_of_the_feature() -> torch.nn.Module:
    module = build_for_table("logistic", {}, 1)
    set_shared_parameters(module, np.array([1.0, 0.0]))
    return module


def scored(bins: int) -> Terms:
    """A study whose scores fall into ``bins``."""
    return small_terms(evaluation={"bins": bins})


def patients(scores: list[float], labels: list[int], patient: list[int] | None = None) -> Patients:
    logits = np.log(np.array(scores) / (1 - np.array(scores)))
    owners = np.array(patient if patient is not None else range(len(scores)), dtype=np.int64)
    return make_patients(logits[:, None], np.array(labels), owners)


def test_histogram_puts_each_patient_in_one_cell_of_class_and_score() -> None:
    people = patients([0.1, 0.1, 0.3, 0.6, 0.99], [0, 1, 0, 1, 1])
    counts = count_scores(logit_of_the_feature(), people, scored(bins=4))
    assert counts.tolist() == [1, 1, 0, 0, 1, 0, 1, 1]


def test_histogram_patient_with_several_records_counts_with_the_last() -> None:
    people = patients([0.1, 0.9, 0.9, 0.1, 0.6], [1, 1, 0, 0, 1], [0, 0, 1, 1, 2])
    counts = count_scores(logit_of_the_feature(), people, scored(bins=4))
    assert counts.tolist() == [1, 0, 0, 0, 0, 0, 1, 1]


def test_histogram_score_of_one_falls_in_the_last_bin() -> None:
    people = make_patients(np.full((1, 1), 1e9), np.ones(1))
    assert count_scores(logit_of_the_feature(), people, scored(bins=4)).tolist() == [0, 0, 0, 0, 0, 0, 0, 1]


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=2, max_size=40))
def test_histogram_one_patient_changes_one_cell_by_one(people: list[tuple[float, bool]]) -> None:
    scores, labels = [score for score, _ in people], [int(ill) for _, ill in people]
    module = logit_of_the_feature()
    all_of_them = count_scores(module, patients(scores, labels), scored(bins=10))
    one_left = count_scores(module, patients(scores[1:], labels[1:]), scored(bins=10))
    assert np.abs(all_of_them - one_left).sum() == 1


def test_histogram_with_fine_bins_has_the_auroc_of_the_scores() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    scores = np.clip(0.5 + 0.2 * (labels - 0.5) + random.normal(0, 0.15, 300), 0.01, 0.99)
    counts = count_scores(logit_of_the_feature(), patients(scores.tolist(), labels.tolist()), scored(bins=10_000))
    figures = BinaryTask().compute_figures(counts.tolist(), 10_000)
    assert figures["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-3)


def test_noised_every_cell_gets_noise_even_empty_ones() -> None:
    counts = np.zeros(2000, dtype=np.int64)
    totals = add_noise_to_counts(counts, 4.0, scored(bins=1000), KeyStream(KEY))
    assert totals.dtype == np.int64
    assert totals.std() == pytest.approx(4.0, rel=0.06)
    assert (totals < 0).any()
    assert abs(totals.mean()) < 0.3


def test_noised_does_not_touch_the_counts_it_is_given() -> None:
    counts = np.arange(8)
    add_noise_to_counts(counts, 4.0, scored(bins=4), KeyStream(KEY))
    assert counts.tolist() == list(range(8))
