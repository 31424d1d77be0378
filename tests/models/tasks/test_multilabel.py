from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from sklearn.metrics import average_precision_score, roc_auc_score

from models.tasks.multilabel import MultilabelTask
from models.tasks.registry import make_task
from privacy.study.tasks.multilabel import MultilabelTerms
from tests.models.tasks.contributions import (
    AN_INPUT,
    any_float,
    check_contribution,
    check_gradient_is_finite,
    check_losses_of_each_record_alone,
    check_losses_of_short_outputs_are_wide,
    make_contract,
    to_tensors,
)

LABELS = 3
CONTRACT = make_contract([AN_INPUT], [{"type": "flag", "name": "labels", "shape": (LABELS,)}])
TASK = MultilabelTask(LABELS)
MICRO = MultilabelTask(LABELS, per_label=False)


def draw_records(seed: int, records: int = 50) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    truth = rng.random((records, LABELS)) < 0.4
    return rng.normal(size=(records, LABELS)) + 1.2 * truth, truth


@pytest.mark.parametrize("bins", [2, 7, 100, 10_000])
def test_figures_match_scikit_learn_on_binned_scores(bins: int) -> None:
    outputs, truth = draw_records(bins)
    binned = np.floor(expit(outputs) * bins)
    aurocs = [roc_auc_score(truth[:, each], binned[:, each]) for each in range(LABELS)]
    precisions = [average_precision_score(truth[:, each], binned[:, each]) for each in range(LABELS)]
    micro = {
        "micro_auroc": roc_auc_score(truth.ravel(), binned.ravel()),
        "micro_average_precision": average_precision_score(truth.ravel(), binned.ravel()),
    }
    counts = TASK.count_cells(torch.from_numpy(outputs), {"labels": truth}, bins).tolist()
    assert TASK.compute_figures(counts, bins) == pytest.approx(
        {
            "macro_auroc": np.mean(aurocs),
            "macro_average_precision": np.mean(precisions),
            "micro_auroc": micro["micro_auroc"],
            **{f"auroc_{each}": auroc for each, auroc in enumerate(aurocs)},
        }
    )
    summed = MICRO.count_cells(torch.from_numpy(outputs), {"labels": truth}, bins).tolist()
    assert MICRO.compute_figures(summed, bins) == pytest.approx(micro)
    for task, cells in ((TASK, counts), (MICRO, summed)):
        rank = task.compute_rank(cells, bins)
        assert rank is not None
        assert float(rank) == task.compute_figures(cells, bins)[task.figures[0].name]
        assert task.count_patients(cells, bins) == len(truth)
        assert [kind.name for kind in task.figures] == list(task.compute_figures(cells, bins))


@pytest.mark.parametrize("bins", [10, 50])
def test_auroc_of_raw_scores_is_within_half_the_tied_pairs(bins: int) -> None:
    outputs, truth = draw_records(3)
    counts = TASK.count_cells(torch.from_numpy(outputs), {"labels": truth}, bins).tolist()
    scores = expit(outputs)[:, 1]
    positives, negatives = scores[truth[:, 1]], scores[~truth[:, 1]]
    tied = (np.floor(positives * bins)[:, None] == np.floor(negatives * bins)).mean()
    got = TASK.compute_figures(counts, bins)["auroc_1"]
    assert got is not None
    assert abs(got - roc_auc_score(truth[:, 1], scores)) <= tied / 2 + 1e-12


def test_labels_without_positive_patients_are_left_out_of_means() -> None:
    outputs, truth = draw_records(2)
    truth[:, 0] = False
    counts = TASK.count_cells(torch.from_numpy(outputs), {"labels": truth}, 10).tolist()
    figures, binned = TASK.compute_figures(counts, 10), np.floor(expit(outputs) * 10)
    assert figures["auroc_0"] is None
    assert figures["macro_auroc"] == pytest.approx(
        np.mean([roc_auc_score(truth[:, each], binned[:, each]) for each in (1, 2)])
    )
    assert figures["macro_average_precision"] == pytest.approx(
        np.mean([average_precision_score(truth[:, each], binned[:, each]) for each in (1, 2)])
    )


@pytest.mark.parametrize("task", [TASK, MICRO])
def test_negative_counts_are_zero_and_no_patients_give_no_figures(task: MultilabelTask) -> None:
    outputs, truth = draw_records(1)
    counts = task.count_cells(torch.from_numpy(outputs), {"labels": truth}, 6)
    noised = np.where(counts == 0, -3, counts).tolist()
    assert task.compute_figures(noised, 6) == task.compute_figures(counts.tolist(), 6)
    assert set(task.compute_figures([-1] * len(counts), 6).values()) == {None}
    assert task.compute_rank([-1] * len(counts), 6) is None
    assert task.count_patients([-1] * len(counts), 6) == 0


def test_many_labels_have_no_figure_each() -> None:
    assert [kind.name for kind in MultilabelTask(21).figures][-1] == "micro_auroc"
    assert list(MultilabelTask(21).compute_figures([1] * 84, 2))[-1] == "micro_auroc"


def test_another_number_of_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 12 counts, got 3"):
        TASK.compute_figures([1, 2, 3], 2)


@given(
    arrays(np.float32, (3, LABELS), elements=any_float),
    arrays(np.bool_, (3, LABELS)),
    st.integers(2, 12),
    st.booleans(),
)
def test_one_record_adds_at_most_the_bound_to_each_group(
    outputs: NDArray[Any], truth: NDArray[Any], bins: int, per_label: bool
) -> None:
    terms = MultilabelTerms(kind="multilabel", per_label=per_label)
    check_contribution(terms, CONTRACT, outputs, {"labels": truth}, bins)


def test_labels_in_one_cell_reach_the_bound_of_the_micro_histogram() -> None:
    (group,) = MultilabelTerms(kind="multilabel", per_label=False).list_cell_groups(CONTRACT, 4)
    counts = MICRO.count_cells(torch.full((1, LABELS), torch.nan), {"labels": np.ones((1, LABELS), bool)}, 4)
    assert counts.tolist() == [0, 0, 0, 0, LABELS, 0, 0, 0]  # the lowest bin of the positives
    assert int((counts**2).sum()) == group.squared_sensitivity
    assert not group.histogram


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_losses_are_mean_weighted_cross_entropies_of_each_record_alone(weight: float) -> None:
    outputs, truth = draw_records(5, records=6)
    task = make_task(MultilabelTerms(kind="multilabel", positive_weight=weight), CONTRACT)
    got = task.compute_losses(torch.from_numpy(outputs), to_tensors({"labels": truth}))
    expected = np.where(truth, -weight * log_expit(outputs), -log_expit(-outputs)).mean(axis=1)
    assert got.numpy() == pytest.approx(expected)
    check_losses_of_each_record_alone(task, torch.from_numpy(outputs).float(), {"labels": truth})
    check_losses_of_short_outputs_are_wide(task, torch.from_numpy(outputs).float(), {"labels": truth})


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_gradient_of_extreme_logits_is_finite(size: float) -> None:
    outputs = size * torch.tensor([[1.0, -1, 1], [-1, -1, -1]])
    check_gradient_is_finite(TASK, outputs, {"labels": np.array([[0, 1, 1], [1, 0, 0]], bool)})


def test_described_outputs_are_probabilities() -> None:
    outputs, _ = draw_records(9, records=5)
    assert TASK.describe_outputs(torch.from_numpy(outputs))["probabilities"] == pytest.approx(expit(outputs))
