"""Every exact figure against scikit-learn, scipy or a plain loop; and against the task's own figures of fine bins."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics

from models.tasks.exact_figures import compute_concordance, compute_exact_figures, has_exact_figures
from models.tasks.registry import make_task
from tests.models.generated_studies import generated_terms

RECORDS = 200


def make_case(task: str, **options: Any) -> tuple[Any, dict[str, Any], dict[str, Any], torch.Tensor]:
    """A task, what it says of random outputs, random truths, and the outputs."""
    terms = generated_terms("logistic", task)
    made = make_task(terms.task.model_copy(update=options), terms.data)
    draw = np.random.default_rng(7)
    shape = (RECORDS, *terms.task.compute_output_shape(terms.data))
    outputs = torch.from_numpy(draw.normal(size=shape).astype(np.float32))
    (target,) = terms.task.list_targets()
    truths: Any
    match task:
        case "multilabel":
            truths = draw.random((RECORDS, 3)) < 0.3
        case "regression":
            truths = draw.random(RECORDS).astype(np.float32)
        case _:
            truths = draw.integers(0, 3 if task == "multiclass" else 2, RECORDS)
    return made, dict(made.describe_outputs(outputs)), {target: truths}, outputs


def test_binary_figures_are_those_of_scikit_learn() -> None:
    task, said, truths, _ = make_case("binary")
    scores, labels = said["probability"], truths["label"]
    found = compute_exact_figures(task, said, truths)
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(labels, scores), abs=1e-12)
    assert found["accuracy"] == metrics.accuracy_score(labels, scores >= 0.5)
    assert found["sensitivity"] == metrics.recall_score(labels, scores >= 0.5)
    assert found["specificity"] == metrics.recall_score(labels, scores >= 0.5, pos_label=0)
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(labels, scores), abs=1e-12)


def test_calibration_error_is_that_of_a_plain_loop() -> None:
    task, said, truths, _ = make_case("binary")
    scores, labels = said["probability"].tolist(), truths["label"].tolist()
    total = 0.0
    for each in range(10):
        own = [(s, y) for s, y in zip(scores, labels, strict=True) if each <= 10 * s < each + 1]
        if own:
            mean, share = sum(s for s, _ in own) / len(own), sum(y for _, y in own) / len(own)
            total += len(own) / len(scores) * abs(mean - share)
    assert compute_exact_figures(task, said, truths)["calibration"] == pytest.approx(total, abs=1e-12)


def test_binary_figures_with_ties_count_half() -> None:
    task, _, _, _ = make_case("binary")
    found = compute_exact_figures(
        task, {"probability": np.array([0.2, 0.2, 0.7, 0.7])}, {"label": np.array([0, 1, 0, 1])}
    )
    assert found["auroc"] == 0.5


def test_binary_figures_of_one_class_alone_are_not_defined() -> None:
    task, _, _, _ = make_case("binary")
    found = compute_exact_figures(task, {"probability": np.array([0.2, 0.9])}, {"label": np.array([1, 1])})
    assert found["auroc"] is None
    assert found["specificity"] is None
    assert found["sensitivity"] == 0.5


def test_multiclass_figures_are_those_of_scikit_learn() -> None:
    task, said, truths, _ = make_case("multiclass")
    labels, shares, predicted = truths["label"], said["probabilities"], said["class"]
    found = compute_exact_figures(task, said, truths)
    auroc = metrics.roc_auc_score(labels, shares, multi_class="ovr", average="macro")
    assert found["macro_auroc"] == pytest.approx(auroc, abs=1e-12)
    assert found["auroc_1"] == pytest.approx(metrics.roc_auc_score(labels == 1, shares[:, 1]), abs=1e-12)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(labels, predicted))
    assert list(found) == [kind.name for kind in task.figures]


@pytest.mark.parametrize("per_label", [True, False])
def test_multilabel_figures_are_those_of_scikit_learn(per_label: bool) -> None:
    task, said, truths, _ = make_case("multilabel", per_label=per_label)
    labels, shares = truths["labels"], said["probabilities"]
    found = compute_exact_figures(task, said, truths)
    assert found["micro_auroc"] == pytest.approx(metrics.roc_auc_score(labels, shares, average="micro"), abs=1e-12)
    if per_label:
        macro = metrics.average_precision_score(labels, shares, average="macro")
        assert found["macro_average_precision"] == pytest.approx(macro, abs=1e-12)
        assert found["auroc_2"] == pytest.approx(metrics.roc_auc_score(labels[:, 2], shares[:, 2]), abs=1e-12)
    assert set(found) == {kind.name for kind in task.figures}


def test_regression_figures_are_those_of_scikit_learn_in_the_targets_units() -> None:
    task, said, truths, _ = make_case("regression")
    true, predicted = 10 * truths["label"].astype(np.float64), said["value"]
    found = compute_exact_figures(task, said, truths)
    assert found["r2"] == pytest.approx(metrics.r2_score(true, predicted), abs=1e-6)
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(true, predicted), rel=1e-6)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(true, predicted), rel=1e-6)
    assert found["pearson"] == pytest.approx(np.corrcoef(true, predicted)[0, 1], abs=1e-9)


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_concordance_is_that_of_a_plain_loop_over_pairs(digits: int) -> None:
    draw = np.random.default_rng(3)
    truths, predictions = draw.normal(size=40).round(digits), draw.normal(size=40).round(digits)
    agreeing, pairs = 0.0, 0
    for a, b in combinations(range(40), 2):
        if truths[a] != truths[b]:
            pairs += 1
            order = (truths[a] - truths[b]) * (predictions[a] - predictions[b])
            agreeing += 1.0 if order > 0 else 0.5 if order == 0 else 0.0
    assert compute_concordance(truths, predictions) == pytest.approx(agreeing / pairs, abs=1e-12)


def test_concordance_without_different_truths_or_predictions() -> None:
    assert compute_concordance(np.ones(5), np.arange(5.0)) is None
    assert compute_concordance(np.arange(5.0), np.ones(5)) == 0.5


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_exact_figures_are_near_those_of_the_task_with_fine_bins(task: str) -> None:
    made, said, truths, outputs = make_case(task)
    assert has_exact_figures(made)
    counts = made.count_cells(outputs, truths, 1000)
    near = made.compute_figures(counts.tolist(), 1000)
    exact = compute_exact_figures(made, said, truths)
    for name, value in near.items():
        if name != "calibration":  # that of a thousand bins is another figure
            assert exact[name] == pytest.approx(value, abs=0.005), name
