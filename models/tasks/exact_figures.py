"""Compute a task's figures from scores and truths themselves, without bins: what a site sees of its own patients.

Rules:

* names and meanings are those of the task (``binary.py`` and so on), whose figures everybody else sees are those of
  summed histograms. Where those take the middle of a bin or call two near scores a tie, these do not;
* the calibration error has ``CALIBRATION_BINS`` bins of equal width and takes a bin's mean score (Guo et al. 2017);
* a figure is None where the task says that it is not defined.

Tasks whose totals are not of scores (a record's Dice, recall or error, or truth x prediction of classes) have no exact
figures here: with many bins their own are off by at most half a bin.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from models.task import Task, Values
from models.tasks.binary import THRESHOLD, BinaryTask
from models.tasks.confusion import count_confusion
from models.tasks.histograms import compute_auroc, compute_average_precision, compute_mean, to_figure
from models.tasks.multiclass import MOST_NAMED as MOST_NAMED_CLASSES
from models.tasks.multiclass import MulticlassTask
from models.tasks.multilabel import MOST_NAMED as MOST_NAMED_LABELS
from models.tasks.multilabel import MultilabelTask
from models.tasks.number_losses import compute_shares
from models.tasks.pairs import FIGURE_OF_STRONG, PairsTask
from models.tasks.regression import RegressionTask
from models.tasks.two_way_counts import Scores

CALIBRATION_BINS: Final = 10

Said = Mapping[str, NDArray[Any]]
Truths = Mapping[str, NDArray[Any]]


def has_exact_figures(task: Task) -> bool:
    """Return whether :func:`compute_exact_figures` takes the task."""
    return isinstance(task, BinaryTask | MulticlassTask | MultilabelTask | RegressionTask | PairsTask)


def compute_exact_figures(task: Task, said: Said, truths: Truths) -> Values:
    """Compute all figures of a task that has exact ones, by name.

    Args:
        task: what was predicted.
        said: what ``task.describe_outputs`` says of the records; (records, ...) each.
        truths: the targets as models see them, by the contract's names; (records, ...) each.

    Raises:
        ValueError: the task has no exact figures.
    """
    match task:
        case BinaryTask():
            return compute_binary_figures(said["probability"], truths[task.target] != 0)
        case MulticlassTask():
            return _compute_multiclass_figures(task, said, truths[task.target].astype(np.int64))
        case MultilabelTask():
            return _compute_multilabel_figures(task, said["probabilities"], truths[task.target] != 0)
        case RegressionTask() | PairsTask():
            return _compute_number_figures(task, said["value"], truths[task.terms.target])
    raise ValueError(f"no exact figures are known for {type(task).__name__}")


def compute_binary_figures(scores: Scores, positive: NDArray[np.bool_]) -> Values:
    """Compute the figures of a binary task from the score of each record, (records,)."""
    found, records = scores >= THRESHOLD, len(scores)
    rejected, negatives, positives = int((~found & ~positive).sum()), int((~positive).sum()), int(positive.sum())
    detected = int((found & positive).sum())
    return {
        "auroc": to_figure(_compute_auroc(scores, positive)),
        "average_precision": _compute_average_precision(scores, positive),
        "accuracy": _divide(rejected + detected, records),
        "sensitivity": _divide(detected, positives),
        "specificity": _divide(rejected, negatives),
        "brier": _divide(float(((scores - positive) ** 2).sum()), records),
        "calibration": compute_calibration_error(scores, positive),
    }


def compute_calibration_error(scores: Scores, positive: NDArray[np.bool_]) -> float | None:
    """Compute the mean distance of score and share of positives in a bin, over the records; both (records,)."""
    if not len(scores):
        return None
    place = np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps = np.bincount(place, weights=scores - positive, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(scores))


def compute_concordance(truths: Scores, predictions: Scores) -> float | None:
    """Compute the share of pairs of different truths with predictions in the same order; a tie counts half.

    Kendall's tau-b is (C - D) / sqrt(pairs with different truths * pairs with different predictions), C and D the pairs
    in the same and in opposite order; of C - D follows the concordance.
    """
    records = len(truths)
    pairs, untied = (records * (records - 1) // 2 - _count_ties(each) for each in (truths, predictions))
    if not pairs:
        return None
    if not untied:
        return 0.5
    difference = float(kendalltau(truths, predictions).statistic) * math.sqrt(pairs) * math.sqrt(untied)
    return (difference / pairs + 1) / 2


def _compute_multiclass_figures(task: MulticlassTask, said: Said, truth: NDArray[np.int64]) -> Values:
    probabilities, classes = said["probabilities"], task.classes
    aurocs = [_compute_auroc(probabilities[:, each], truth == each) for each in range(classes)]
    # truth x prediction has no bins; the histograms before it, of two bins, stay empty
    confusion = count_confusion(truth, said["class"].astype(np.int64), classes)
    counts = [0] * (2 * 2 * classes) + confusion.tolist()
    exact = {"macro_auroc": to_figure(compute_mean(aurocs))}
    if classes <= MOST_NAMED_CLASSES:
        exact |= {f"auroc_{each}": to_figure(auroc) for each, auroc in enumerate(aurocs)}
    return {**task.compute_figures(counts, 2), **exact}


def _compute_multilabel_figures(task: MultilabelTask, scores: Scores, positive: NDArray[np.bool_]) -> Values:
    micro = to_figure(_compute_auroc(scores.ravel(), positive.ravel()))
    if not task.per_label:
        return {
            "micro_auroc": micro,
            "micro_average_precision": _compute_average_precision(scores.ravel(), positive.ravel()),
        }
    each = [(scores[:, label], positive[:, label]) for label in range(task.labels)]
    aurocs = [_compute_auroc(*label) for label in each]
    precisions = [precision for label in each if (precision := _compute_average_precision(*label)) is not None]
    values = {
        "macro_auroc": to_figure(compute_mean(aurocs)),
        "macro_average_precision": _divide(sum(precisions), len(precisions)),
        "micro_auroc": micro,
    }
    if task.labels <= MOST_NAMED_LABELS:
        values |= {f"auroc_{label}": to_figure(auroc) for label, auroc in enumerate(aurocs)}
    return values


def _compute_number_figures(task: RegressionTask | PairsTask, predicted: Scores, target: NDArray[Any]) -> Values:
    numbers = task.terms.find_numbers(task.contract)
    truths = numbers.low + compute_shares(target, numbers) * (numbers.high - numbers.low)
    errors = predicted - truths
    if numbers.shape:
        # as the task: predictions are clipped to the range, which several numbers of one record share
        errors = np.clip(predicted, numbers.low, numbers.high) - truths
        return {"mae": _divide(float(np.abs(errors).mean(axis=tuple(range(1, errors.ndim))).sum()), len(errors))}
    values = {
        "r2": _compute_r2(truths, errors),
        "mse": _divide(float((errors**2).sum()), len(errors)),
        "mae": _divide(float(np.abs(errors).sum()), len(errors)),
        "pearson": _compute_pearson(truths, predicted),
        "concordance": compute_concordance(truths, predicted),
        "rm2": _compute_rm2(truths, predicted),
    }
    if isinstance(task, PairsTask) and task.terms.strong is not None:
        values[FIGURE_OF_STRONG.name] = _compute_average_precision(predicted, truths >= task.terms.strong)
    return {kind.name: values[kind.name] for kind in task.figures}


def _compute_r2(truths: Scores, errors: Scores) -> float | None:
    spread = float(((truths - truths.mean()) ** 2).sum()) if len(truths) else 0.0
    return 1 - float((errors**2).sum()) / spread if spread else None


def _compute_pearson(truths: Scores, predicted: Scores) -> float | None:
    if len(truths) < 2 or np.ptp(truths) == 0 or np.ptp(predicted) == 0:
        return None
    return min(1.0, max(-1.0, float(np.corrcoef(truths, predicted)[0, 1])))


def _compute_rm2(truths: Scores, predicted: Scores) -> float | None:
    """Compute r_m^2 as ``two_way_counts.py`` does."""
    pearson = _compute_pearson(truths, predicted)
    if pearson is None:
        return None
    squares = float((predicted**2).sum())
    slope = float((truths * predicted).sum()) / squares if squares else 0.0
    through_origin = _compute_r2(truths, truths - slope * predicted)
    assert through_origin is not None, "a correlation is defined, so the truths differ"
    return pearson**2 * (1 - math.sqrt(abs(pearson**2 - through_origin)))


def _compute_auroc(scores: Scores, positive: NDArray[np.bool_]) -> Fraction | None:
    return compute_auroc(*_count_by_score(scores, positive))


def _compute_average_precision(scores: Scores, positive: NDArray[np.bool_]) -> float | None:
    return compute_average_precision(*_count_by_score(scores, positive))


def _count_by_score(scores: Scores, positive: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count negatives and positives of each score that occurs, by rising score; (scores,) each."""
    values, place = np.unique(scores, return_inverse=True)
    negatives, positives = (np.bincount(place[which], minlength=len(values)) for which in (~positive, positive))
    return negatives.astype(np.int64), positives.astype(np.int64)


def _count_ties(values: Scores) -> int:
    """Count the pairs of equal values."""
    _, counts = np.unique(values, return_counts=True)
    return int((counts * (counts - 1) // 2).sum())


def _divide(part: float, whole: int) -> float | None:
    return part / whole if whole else None
