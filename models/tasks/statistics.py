"""The figures of a study of statistics, and how far the noise may change each, from summed cells alone.

Rules:

* the number of patients is the mean of what every group says of it that counts all patients, weighted by the
  precision of each: the sum of n cells has n times the variance of one;
* a count of patients has the noise of its cell: ``error`` is 1.96 standard deviations;
* what is computed from several cells (a mean, a spread, a correlation) is computed again from ``_DRAWS`` draws of
  other noise on the same cells: ``error`` is what 95 of 100 draws differ by at most. It is a lower bound where the
  noise is as large as what is counted;
* a figure is not known (None) where its computation needs what noise has made impossible: patients or a spread of less
  than zero;
* nothing is made to look better than it is: histograms are not corrected, and cells may be negative.

The counts seed the draws, so that the same counts give the same page everywhere.
"""

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.task import FigureKind, Values
from privacy.study.data.contract import DataContract
from privacy.study.tasks.measures import Measure
from privacy.study.tasks.statistics import UNIT, StatisticsTerms, list_record_ranges
from privacy.study.tasks.task import CellGroup, compute_squared_scales, count_cells

if TYPE_CHECKING:
    import torch

WITHIN: Final = 1.96
"""Standard deviations within which 95 of 100 draws of normal noise lie."""
_DRAWS: Final = 1000
_MOST_UNKNOWN: Final = 0.05
"""Largest share of draws that may leave a figure unknown; above it the figure is not known."""
_Cells = NDArray[np.float64]


class Estimate(NamedTuple):
    """A figure, and by how much the noise changes it in at most 95 of 100 cases; None where it is not known."""

    value: float | None
    error: float | None

    @property
    def known(self) -> bool:
        """Whether there is a figure."""
        return self.value is not None and self.error is not None


class WordCount(NamedTuple):
    """How many patients have a word, or a number in a bin."""

    label: str
    patients: float
    error: float


class ColumnFigures(NamedTuple):
    """What is known of one column.

    Attributes:
        measure: the column.
        counts: of its bins or words.
        missing: the share of patients without a value; None where none can be missing.
        mean, deviation: of a number, in its own units; None for words.
    """

    measure: Measure
    counts: tuple[WordCount, ...]
    missing: Estimate | None
    mean: Estimate | None
    deviation: Estimate | None


class StatisticsFigures(NamedTuple):
    """Everything that opened cells say.

    Attributes:
        patients: of all sites of the cohort together.
        complete: patients without a missing value; None where nothing can be missing.
        lacking: patients by how many columns they miss.
        records: patients by how many records they have.
        columns: each column.
        correlations: of each pair, Pearson's.
        between: of each column of ``differences``, the share of its variance that is between sites, eta squared.
        by_chance: what this share stays below in 95 of 100 cases if sites do not differ (:func:`_bound_by_chance`).
    """

    patients: Estimate
    complete: Estimate | None
    lacking: tuple[WordCount, ...]
    records: tuple[WordCount, ...]
    columns: tuple[ColumnFigures, ...]
    correlations: Mapping[tuple[str, str], Estimate]
    between: Mapping[str, Estimate]
    by_chance: float | None


@dataclass(frozen=True)
class StatisticsTask:
    """The task ``statistics`` for the data of a contract (:class:`~models.task.Task`), without loss and outputs."""

    terms: StatisticsTerms
    contract: DataContract

    @property
    def groups(self) -> tuple[CellGroup, ...]:
        """The groups of cells."""
        return self.terms.list_cell_groups(self.contract, 0)

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """The number of patients, for lists of studies; :func:`compute_statistics` gives everything."""
        return (FigureKind("patients", "patients", best=math.inf),)

    def compute_losses(self, outputs: "torch.Tensor", targets: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Refuse: nothing is learned."""
        raise NotImplementedError("a study of statistics has no loss")

    def count_cells(
        self, outputs: "torch.Tensor", targets: Mapping[str, NDArray[np.generic]], bins: int
    ) -> NDArray[np.int64]:
        """Refuse: ``client/training/statistics.py`` counts."""
        raise NotImplementedError("a study of statistics counts without a model")

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        """Return how many patients ``counts`` (cells,) are of; noise included, never negative."""
        scales = np.array(compute_squared_scales(self.groups), dtype=np.float64)
        patients, _ = _estimate_patients(_Reader(self.groups, scales), self.read_cells(counts)[None])
        return max(0, round(float(patients[0])))

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        """Return the number of patients."""
        return {"patients": float(self.count_patients(counts, bins))}

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Return None: there are no models to compare."""
        return None

    def describe_outputs(self, outputs: "torch.Tensor") -> Mapping[str, NDArray[np.float64]]:
        """Return nothing: there is no model."""
        return {}

    def read_cells(self, counts: Sequence[int]) -> _Cells:
        """Return ``counts`` (cells,) in patients.

        Raises:
            ValueError: they are not as many as the task has cells.
        """
        if len(counts) != count_cells(self.groups):
            raise ValueError(f"expected {count_cells(self.groups)} counts, got {len(counts)}")
        return np.array(counts, dtype=np.float64) / UNIT


class _Reader:
    """The cells of each group by name, of one or many draws, (draws, cells)."""

    def __init__(self, groups: Sequence[CellGroup], variances: _Cells) -> None:
        ends = np.cumsum([group.cells for group in groups])
        self._places = {
            group.name: slice(int(end) - group.cells, int(end)) for group, end in zip(groups, ends, strict=True)
        }
        self.groups = groups
        self.variances = variances

    def read(self, cells: _Cells, name: str) -> _Cells:
        """Return the cells of the group ``name``; (draws, cells of the group)."""
        return cells[:, self._places[name]]

    def find_deviation(self, name: str) -> float:
        """Return the standard deviation of the noise in a cell of the group ``name``."""
        return math.sqrt(float(self.variances[self._places[name]][0]))

    def __contains__(self, name: str) -> bool:
        return name in self._places


def compute_statistics(
    task: StatisticsTask, counts: Sequence[int], deviation: float, sites: int
) -> StatisticsFigures:
    """Compute every figure of opened cells.

    Args:
        task: the study's task.
        counts: (cells,) as opened.
        deviation: of the noise with a scale of 1, over all sites (``privacy/study/cost.py``).
        sites: of the cohort.

    Raises:
        ValueError: the counts are not as many as the task has cells.
    """
    opened = task.read_cells(counts)
    variances = np.array(compute_squared_scales(task.groups), dtype=np.float64) * (deviation / UNIT) ** 2
    rng = np.random.default_rng([int(each) & 0xFFFFFFFF for each in counts])  # a seed may not be negative
    noise = rng.normal(0.0, np.sqrt(variances), (_DRAWS, len(opened)))
    drawn = np.concatenate([opened[None], opened + noise])  # (1 + draws, cells): first what was opened
    reader = _Reader(task.groups, variances)
    patients, variance = _estimate_patients(reader, drawn)

    def count(name: str, labels: Sequence[str]) -> tuple[WordCount, ...]:
        error = WITHIN * reader.find_deviation(name)
        cells = reader.read(drawn, name)[0]
        return tuple(WordCount(label, float(cell), error) for label, cell in zip(labels, cells, strict=False))

    measures = task.terms.choose_measures(task.contract)
    lacking = count("missing columns", ("none", "1", "2", "3", "4 or more")) if "missing columns" in reader else ()
    between = {name: _compute_between(reader, drawn, patients, task, name) for name in task.terms.differences}
    number = float(patients[0])
    return StatisticsFigures(
        patients=Estimate(number, WITHIN * math.sqrt(variance)),
        complete=Estimate(lacking[0].patients, lacking[0].error) if lacking else None,
        lacking=lacking,
        records=count("records", _name_records(task)) if "records" in reader else (),
        columns=tuple(
            ColumnFigures(
                measure,
                count(f"column {measure.name}", _name_cells(measure, task.terms.bins)),
                _compute_missing(reader, drawn, patients, measure),
                *_compute_moments(reader, drawn, patients, measure),
            )
            for measure in measures
        ),
        correlations={
            (first, second): _compute_correlation(reader.read(drawn, f"pair of '{first}' and '{second}'"))
            for first, second in task.terms.pairs
        },
        between=between,
        by_chance=_bound_by_chance(sites, number),
    )


def _estimate_patients(reader: _Reader, drawn: _Cells) -> tuple[_Cells, float]:
    """Return the number of patients, (draws,), and the variance of its noise."""
    totals, weights = [], []
    for group in reader.groups:
        if group.histogram or group.name == "patients":
            totals.append(reader.read(drawn, group.name).sum(axis=1))
            weights.append(1.0 / (group.cells * max(reader.find_deviation(group.name) ** 2, 1e-12)))
    whole = sum(weights)
    return np.asarray(sum(w * total for w, total in zip(weights, totals, strict=True)) / whole), 1.0 / whole


def _compute_missing(reader: _Reader, drawn: _Cells, patients: _Cells, measure: Measure) -> Estimate | None:
    """Compute the share of patients without a value; None where none can be missing."""
    if not measure.missing:
        return None
    return _summarise(reader.read(drawn, f"column {measure.name}")[:, -1] / _positive(patients))


def _compute_moments(
    reader: _Reader, drawn: _Cells, patients: _Cells, measure: Measure
) -> tuple[Estimate | None, Estimate | None]:
    """Compute the mean and the standard deviation of a number, in its own units; None for words."""
    if not measure.is_number:
        return None, None
    there = _count_there(reader, drawn, patients, measure)
    total, squares = reader.read(drawn, f"moments of {measure.name}").T
    half, middle = (measure.high - measure.low) / 2.0, (measure.high + measure.low) / 2.0
    mean = total / there
    spread = np.sqrt(_positive(squares / there - mean**2))
    return _summarise(middle + half * mean), _summarise(half * spread)


def _compute_correlation(sums: _Cells) -> Estimate:
    """Compute Pearson's correlation from the six sums of a pair, (draws, 6)."""
    number, x, y, xx, yy, xy = sums.T
    number = _positive(number)
    x, y = x / number, y / number
    covariance = xy / number - x * y
    spread = _positive(xx / number - x**2) * _positive(yy / number - y**2)
    return _summarise(np.clip(covariance / np.sqrt(spread), -1.0, 1.0))


def _compute_between(reader: _Reader, drawn: _Cells, patients: _Cells, task: StatisticsTask, name: str) -> Estimate:
    """Compute the share of a column's variance that is between sites.

    With B the sum over sites of S^2 / n: (B - S^2 / n) / (sum of v^2 - S^2 / n), S and n here those of all sites.
    """
    measure = task.terms.find_measure(task.contract, name)
    there = _count_there(reader, drawn, patients, measure)
    if measure.is_number:
        total, squares = reader.read(drawn, f"moments of {name}").T
    else:
        no, yes = reader.read(drawn, f"column {name}").T[:2]  # as -1 and 1
        total, squares = yes - no, there
    whole = total**2 / there
    sites = reader.read(drawn, f"difference of {name}")[:, 0] - whole
    return _summarise(sites / _positive(squares - whole))


def _bound_by_chance(sites: int, patients: float) -> float | None:
    """Return what the share between sites that do not differ stays below in 95 of 100 cases; None of too few patients.

    Of so many patients it has about the distribution of chi squared with ``sites`` - 1 degrees of freedom over
    ``patients`` - 1 (analysis of variance); its quantile after Wilson and Hilferty 1931.
    """
    free = sites - 1
    if free < 1 or patients <= sites:
        return None
    part = 2.0 / (9.0 * free)
    return float(min(1.0, free * (1.0 - part + 1.645 * math.sqrt(part)) ** 3 / (patients - 1.0)))


def _count_there(reader: _Reader, drawn: _Cells, patients: _Cells, measure: Measure) -> _Cells:
    """Return how many patients have a value, (draws,)."""
    missing = reader.read(drawn, f"column {measure.name}")[:, -1] if measure.missing else 0.0
    return _positive(patients - missing)


def _positive(values: _Cells) -> _Cells:
    """Return ``values`` with NaN in place of what is not above zero: what is computed from it is not known."""
    return np.where(values > 0, values, np.nan)


def _summarise(drawn: _Cells) -> Estimate:
    """Summarise what was opened, ``drawn[0]``, and how the draws after it differ."""
    own, others = float(drawn[0]), drawn[1:]
    if math.isnan(own) or float(np.isnan(others).mean()) > _MOST_UNKNOWN:
        return Estimate(None, None)
    return Estimate(own, float(np.nanpercentile(np.abs(others - own), 95)))


def _name_cells(measure: Measure, bins: int) -> Sequence[str]:
    """Name the bins or words of a column; not its cell of missing values."""
    if not measure.is_number:
        return measure.words
    width = (measure.high - measure.low) / bins
    ends = [measure.low + width * number for number in range(bins + 1)]
    edges = [format_day(each) if measure.days else f"{each:.6g}" for each in ends]
    return [f"{low} to {high}" for low, high in pairwise(edges)]


def format_day(days: float) -> str:
    """Format days since 1970-01-01 as a date."""
    return f"{datetime.date(1970, 1, 1) + datetime.timedelta(days=round(days))}"


def _name_records(task: StatisticsTask) -> Sequence[str]:
    ranges = list_record_ranges(task.contract.records_per_patient)
    return [f"{first}" if first == last else f"{first} to {last}" for first, last in ranges]
