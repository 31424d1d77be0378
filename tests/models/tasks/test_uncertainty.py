"""The effect of noise and chance on figures, against releases and test patients that are drawn again and again."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.task import FigureKind, Values
from models.tasks.binary import BinaryTask
from models.tasks.uncertainty import (
    compute_first_deviation,
    estimate_chance_errors,
    estimate_noise_errors,
    is_mostly_noise,
)
from privacy.study.tasks.task import CellGroup, compute_squared_scales

BINARY = BinaryTask()


def groups(bins: int) -> tuple[CellGroup, ...]:
    return (CellGroup("class x score", 2 * bins, rows=2),)


def noise_errors(counts: Sequence[int], deviation: float) -> Values:
    bins = len(counts) // 2
    return estimate_noise_errors(BINARY, groups(bins), counts, bins, deviation)


def chance_errors(counts: Sequence[int]) -> Values:
    bins = len(counts) // 2
    return estimate_chance_errors(BINARY, groups(bins), counts, bins)


def histogram(patients: int, bins: int) -> NDArray[np.int64]:
    """Scores of ill and healthy patients that overlap; (2 * bins,)."""
    rng = np.random.default_rng(1)
    scores = rng.beta(2, 4, 2 * patients // 3), rng.beta(4, 2, patients // 3)
    return np.concatenate([np.histogram(each, bins, (0, 1))[0] for each in scores])


class MeanAndShare:
    """A task of two groups: a sum and its number of patients beside it, and a histogram of three cells."""

    figures = (FigureKind("share", "share"), FigureKind("mean", "mean"))

    def compute_losses(self, outputs: Any, targets: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def count_cells(self, outputs: Any, targets: Mapping[str, Any], bins: int) -> NDArray[np.int64]:
        raise NotImplementedError

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        return sum(counts[:3])

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        cells = np.clip(counts[:3], 0, None)
        return {"share": float(cells[0] / cells.sum()), "mean": counts[3] / max(1, counts[4])}

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        raise NotImplementedError

    def describe_outputs(self, outputs: Any) -> Mapping[str, NDArray[np.float64]]:
        raise NotImplementedError


TWO = (CellGroup("histogram", 3), CellGroup("sum and number", 2, squared_sensitivity=101, histogram=False))


@pytest.mark.parametrize(("patients", "bins", "deviation"), [(142, 10, 3.0), (3000, 20, 10.0), (3000, 100, 1.0)])
def test_noise_errors_are_what_releases_of_known_counts_miss_them_by(
    patients: int, bins: int, deviation: float
) -> None:
    """The oracle: counts that are known, released again and again; each release is asked for its own error."""
    counts, rng, names = histogram(patients, bins), np.random.default_rng(2), ("auroc", "accuracy")
    true = BINARY.compute_figures(counts.tolist(), bins)
    releases = [(counts + np.rint(rng.normal(0, deviation, counts.size))).astype(int).tolist() for _ in range(300)]
    missed = [
        [figures[name] - true[name] for name in names]  # type: ignore[operator]
        for figures in (BINARY.compute_figures(each, bins) for each in releases)
    ]
    said = [[noise_errors(each, deviation)[name] for name in names] for each in releases[:10]]
    assert np.array(said, dtype=np.float64).mean(axis=0) == pytest.approx(
        np.sqrt((np.array(missed) ** 2).mean(axis=0)), rel=0.25
    )


def test_noise_errors_without_noise_are_zero() -> None:
    assert set(noise_errors(histogram(142, 10).tolist(), 0.0).values()) == {0.0}
    assert noise_errors([5, 1, 0, 0], 0.0)["auroc"] is None


def test_noise_of_a_group_is_scaled_as_its_sensitivity_needs() -> None:
    """The mean of a sum moves by the noise of the sum over its patients; the scales are those that sites add."""
    counts, deviation = [400, 300, 300, 50_000, 1000], 1.5
    found = estimate_noise_errors(MeanAndShare(), TWO, counts, 3, deviation)
    of_sum = deviation * np.sqrt(compute_squared_scales(TWO)[3])
    assert of_sum == pytest.approx(1.5 * np.sqrt(2 * 101))
    # d(s/n) = ds/n - s dn/n^2
    assert found["mean"] == pytest.approx(of_sum / 1000 * np.sqrt(1 + 50**2), rel=0.15)
    of_cell = deviation * np.sqrt(2)
    assert found["share"] == pytest.approx(of_cell / 1000 * np.sqrt(0.6**2 + 2 * 0.4**2), rel=0.15)


def test_chance_errors_of_what_depends_on_sums_are_unknown() -> None:
    found = estimate_chance_errors(MeanAndShare(), TWO, [400, 300, 300, 50_000, 1000], 3)
    assert found["mean"] is None
    assert found["share"] == pytest.approx(np.sqrt(0.4 * 0.6 / 1000), rel=0.15)


def test_chance_errors_where_a_patient_may_count_several_times_are_unknown() -> None:
    several = tuple(group._replace(squared_sensitivity=9) for group in groups(2))
    found = estimate_chance_errors(BINARY, several, [30, 10, 20, 60], 2)
    assert set(found.values()) == {None}


def test_chance_errors_of_shares_are_the_binomial_ones() -> None:
    errors = chance_errors([30, 10, 20, 60])  # of 40 negatives 30 rejected, of 80 positives 60 found
    assert errors["sensitivity"] == pytest.approx(np.sqrt(0.75 * 0.25 / 80), rel=0.15)
    assert errors["specificity"] == pytest.approx(np.sqrt(0.75 * 0.25 / 40), rel=0.15)
    assert errors["accuracy"] == pytest.approx(np.sqrt(0.75 * 0.25 / 120), rel=0.15)


def test_chance_error_of_the_auroc_is_hanley_and_mcneils_for_many_bins() -> None:
    counts = histogram(600, 200).tolist()
    area, negatives, positives = float(BINARY.compute_rank(counts, 200) or 0), sum(counts[:200]), sum(counts[200:])
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (one - area**2) + (negatives - 1) * (two - area**2)
    expected = np.sqrt(variance / positives / negatives)  # Hanley & McNeil 1982, of exponential scores
    assert chance_errors(counts)["auroc"] == pytest.approx(expected, rel=0.2)


def test_errors_of_the_same_counts_are_the_same_for_everybody() -> None:
    counts = histogram(142, 10).tolist()
    assert noise_errors(counts, 3.0) == noise_errors(counts, 3.0)
    assert chance_errors(counts) == chance_errors(counts)


def test_errors_of_a_class_without_patients_are_none() -> None:
    errors = chance_errors([5, 1, 0, 0])
    assert (errors["auroc"], errors["sensitivity"]) == (None, None)
    assert errors["accuracy"] is not None


@pytest.mark.parametrize(
    ("patients", "deviation", "mostly"), [(142, 3.0, True), (3000, 10.0, False), (142, 0.0, False)]
)
def test_noise_that_makes_up_more_patients_than_there_are_is_named(
    patients: int, deviation: float, mostly: bool
) -> None:
    assert is_mostly_noise(groups(100), histogram(patients, 100).tolist(), deviation) is mostly


def test_mostly_noise_looks_at_the_histogram_with_its_own_noise() -> None:
    sums_first = (TWO[1], CellGroup("histogram", 100))
    counts = [10**6, 10**6, *[1] * 100]
    assert compute_first_deviation(sums_first, 1.0) == pytest.approx(np.sqrt(2))
    assert not is_mostly_noise(sums_first, counts, 1.7)  # 100 * 1.7 * sqrt(2) / sqrt(2 pi) is 96 patients
    assert is_mostly_noise(sums_first, counts, 1.8)
    assert not is_mostly_noise(sums_first[:1], counts[:2], 1e9)


@pytest.mark.parametrize("size", [0, 3, 6])
def test_errors_other_shape_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"expected 4 cells, got {size} counts"):
        estimate_noise_errors(BINARY, groups(2), [1] * size, 2, 1.0)
