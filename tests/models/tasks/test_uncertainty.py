import numpy as np
import pytest

from models.tasks.binary import compute_metrics
from models.tasks.uncertainty import estimate_chance_errors, estimate_noise_errors, is_mostly_noise


def histogram(patients: int, bins: int) -> np.ndarray:
    """Scores of ill and healthy patients that overlap; (2 * bins,)."""
    rng = np.random.default_rng(1)
    scores = rng.beta(2, 4, 2 * patients // 3), rng.beta(4, 2, patients // 3)
    return np.concatenate([np.histogram(each, bins, (0, 1))[0] for each in scores])


@pytest.mark.parametrize(("patients", "bins", "deviation"), [(142, 10, 3.0), (3000, 20, 10.0), (3000, 100, 1.0)])
def test_noise_errors_are_what_releases_of_known_counts_miss_them_by(
    patients: int, bins: int, deviation: float
) -> None:
    """The oracle: counts that are known, released again and again; each release is asked for its own error."""
    counts, rng = histogram(patients, bins), np.random.default_rng(2)
    true = compute_metrics(counts.tolist())
    assert true.auroc is not None
    assert true.accuracy is not None
    releases = [(counts + np.rint(rng.normal(0, deviation, counts.size))).astype(int).tolist() for _ in range(300)]
    missed = np.array(
        [
            (figures.auroc - true.auroc, figures.accuracy - true.accuracy)  # type: ignore[operator]
            for figures in map(compute_metrics, releases)
        ]
    )
    said = np.array(
        [(e.auroc, e.accuracy) for e in (estimate_noise_errors(each, deviation) for each in releases[:10])]
    )
    assert said.mean(axis=0) == pytest.approx(np.sqrt((missed**2).mean(axis=0)), rel=0.25)


def test_noise_errors_without_noise_are_zero() -> None:
    errors = estimate_noise_errors(histogram(142, 10).tolist(), 0.0)
    assert (errors.auroc, errors.accuracy, errors.sensitivity, errors.specificity) == (0.0, 0.0, 0.0, 0.0)


def test_chance_errors_of_shares_are_the_binomial_ones() -> None:
    counts = [30, 10, 20, 60]  # of 40 negatives 30 rejected, of 80 positives 60 found
    errors = estimate_chance_errors(counts)
    assert errors.sensitivity == pytest.approx(np.sqrt(0.75 * 0.25 / 80), rel=0.1)
    assert errors.specificity == pytest.approx(np.sqrt(0.75 * 0.25 / 40), rel=0.1)
    assert errors.accuracy == pytest.approx(np.sqrt(0.75 * 0.25 / 120), rel=0.1)


def test_chance_error_of_the_auroc_is_hanley_and_mcneils_for_many_bins() -> None:
    counts = histogram(600, 200).tolist()
    area, negatives, positives = compute_metrics(counts).auroc or 0.0, sum(counts[:200]), sum(counts[200:])
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (one - area**2) + (negatives - 1) * (two - area**2)
    expected = np.sqrt(variance / positives / negatives)  # Hanley & McNeil 1982, of exponential scores
    assert estimate_chance_errors(counts).auroc == pytest.approx(expected, rel=0.2)


def test_errors_of_the_same_counts_are_the_same_for_everybody() -> None:
    counts = histogram(142, 10).tolist()
    assert estimate_noise_errors(counts, 3.0) == estimate_noise_errors(counts, 3.0)
    assert estimate_chance_errors(counts) == estimate_chance_errors(counts)


def test_errors_of_a_class_without_patients_are_none() -> None:
    errors = estimate_chance_errors([5, 1, 0, 0])
    assert (errors.auroc, errors.sensitivity) == (None, None)
    assert errors.accuracy is not None


@pytest.mark.parametrize(
    ("patients", "deviation", "mostly"), [(142, 3.0, True), (3000, 10.0, False), (142, 0.0, False)]
)
def test_noise_that_makes_up_more_patients_than_there_are_is_named(
    patients: int, deviation: float, mostly: bool
) -> None:
    assert is_mostly_noise(histogram(patients, 100).tolist(), deviation) is mostly


@pytest.mark.parametrize("size", [0, 3, 6])
def test_errors_other_shape_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"got {size} counts"):
        estimate_noise_errors([1] * size, 1.0)
