"""Truth x prediction: counting patients by both, and the figures of these counts.

A confusion is (classes, classes), truth on the first axis; its counts are whole and not negative. Every figure is
an exact fraction, and None if no patient, or only chance, could decide it.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from models.tasks.histograms import compute_mean

Confusion = NDArray[np.int64]


def count_confusion(truth: NDArray[np.generic], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Count records by true and predicted class, both (records,); (classes * classes,), truth by truth.

    A class beyond the known ones counts as the nearest of them, so that every record has its cell.
    """
    true = np.clip(truth.astype(np.int64), 0, classes - 1)
    return np.bincount(true * classes + predicted, minlength=classes**2).astype(np.int64)


def compute_accuracy(confusion: Confusion, within: int = 0) -> Fraction | None:
    """Compute the share of patients whose prediction is at most ``within`` classes from the truth."""
    distance = _measure_distances(len(confusion))
    return _divide(int(confusion[distance <= within].sum()), int(confusion.sum()))


def compute_balanced_accuracy(confusion: Confusion) -> Fraction | None:
    """Compute the mean over the classes that have patients of the share that is predicted right."""
    pairs = zip(confusion.diagonal().tolist(), confusion.sum(axis=1).tolist(), strict=True)
    return compute_mean(_divide(right, patients) for right, patients in pairs)


def compute_macro_f1(confusion: Confusion) -> Fraction | None:
    """Compute the mean F1 over the classes that are true or predicted of any patient.

    F1 is the harmonic mean of precision and recall: twice the patients predicted right, over those who are of the
    class plus those predicted as it.
    """
    either = confusion.sum(axis=1) + confusion.sum(axis=0)
    pairs = zip(confusion.diagonal().tolist(), either.tolist(), strict=True)
    return compute_mean(_divide(2 * right, patients) for right, patients in pairs)


def compute_kappa(confusion: Confusion) -> Fraction | None:
    """Compute Cohen's kappa: how much more often truth and prediction agree than by chance, 1 at most.

    None if chance alone would always agree. Source: Cohen 1960.
    """
    true, predicted, patients = _sum_margins(confusion)
    by_chance = sum(a * b for a, b in zip(true, predicted, strict=True))
    return _divide(int(confusion.trace()) * patients - by_chance, patients**2 - by_chance)


def compute_quadratic_kappa(confusion: Confusion) -> Fraction | None:
    """Compute the weighted kappa: 1 minus the mean squared distance of classes, over that by chance.

    None if the distance by chance is zero. Source: Cohen 1968, Weighted kappa.
    """
    true, predicted, patients = _sum_margins(confusion)
    squared = int((confusion * _measure_distances(len(confusion)) ** 2).sum())
    # By chance, sum over i and j of true_i predicted_j (i - j)^2; multiplied out, it needs no loop over pairs.
    squares = sum(k**2 * (a + b) for k, (a, b) in enumerate(zip(true, predicted, strict=True)))
    products = sum(k * a for k, a in enumerate(true)) * sum(k * b for k, b in enumerate(predicted))
    by_chance = patients * squares - 2 * products
    return None if not by_chance else 1 - Fraction(patients * squared, by_chance)


def compute_mean_distance(confusion: Confusion) -> Fraction | None:
    """Compute the mean absolute difference of true and predicted class, in classes."""
    return _divide(int((confusion * _measure_distances(len(confusion))).sum()), int(confusion.sum()))


def _measure_distances(classes: int) -> NDArray[np.int64]:
    """Return |i - j|; (classes, classes)."""
    order = np.arange(classes, dtype=np.int64)
    distances: NDArray[np.int64] = np.abs(order[:, None] - order)
    return distances


def _sum_margins(confusion: Confusion) -> tuple[list[int], list[int], int]:
    """Return patients by true class, by predicted class, and in all: whole numbers that do not overflow."""
    return confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist(), int(confusion.sum())


def _divide(part: int, whole: int) -> Fraction | None:
    return Fraction(part, whole) if whole else None
