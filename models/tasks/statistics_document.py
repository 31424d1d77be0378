"""The document of a study's statistics: what is known of all sites together, and how far noise may change it.

It is made from the terms, the opened cells and the names of the cohort's sites, all of which every site and the
coordinator have, so that all of them make the same bytes. The page (``server/feasibility/``) shows this document.
"""

from collections.abc import Sequence

from models.tasks.registry import make_task
from models.tasks.statistics import ColumnFigures, Estimate, StatisticsTask, WordCount, compute_statistics
from privacy.document import Shown
from privacy.fields import Name
from privacy.study.cost import compute_evaluation_noise, compute_totals_deviation
from privacy.study.tasks.statistics import UNIT
from privacy.study.tasks.task import compute_squared_scales
from privacy.study.terms import Terms


class Figure(Shown):
    """A figure; null where noise hides it."""

    value: float | None
    error: float | None
    """By how much the noise changes it, at most, in 95 of 100 cases."""


class Counted(Shown):
    """How many patients fall into a bin, or have a word."""

    label: str
    patients: float
    """With noise, so that it may be below zero."""
    error: float


class ColumnStatistics(Shown):
    """What is known of one column of a table, or one tensor of arrays."""

    name: str
    number: bool
    """Whether it is a number; else it is a word."""
    stands_for: str
    """How one number stands for the several values of a record; empty where there is one."""
    days: bool
    """Whether the number is a date, in days since 1970-01-01."""
    low: float | None
    """The public range of a number."""
    high: float | None
    counts: tuple[Counted, ...]
    """By bins of the range, or by words."""
    missing: Figure | None
    """Share of patients without a value; null where none can be missing."""
    mean: Figure | None
    """Of a number, in its own units."""
    deviation: Figure | None
    """Standard deviation of a number over patients, in its own units."""


class Correlation(Shown):
    """Pearson's correlation of two columns, over patients who have both."""

    first: str
    second: str
    correlation: Figure


class Difference(Shown):
    """How much sites differ in one column."""

    column: str
    share: Figure
    """Share of the column's variance that is between sites (eta squared): 0 where all sites have the same mean."""


class Statistics(Shown):
    """The statistics of a study, of all sites of its cohort together."""

    study: str
    terms: str
    """SHA-256 of the terms."""
    population: Name
    purpose: str
    sites: tuple[str, ...]
    """Whose patients were counted together; nothing is known of one of them alone."""
    epsilon: float
    delta: float
    noise_multiplier: float
    groups: int
    """Among so many groups of cells the noise is divided."""
    noise_deviation: float
    """Standard deviation of the noise in a count of patients, in patients."""
    colluders: int
    patients: Figure
    """All patients who would qualify."""
    complete: Figure | None
    """Those without a missing value; null where nothing can be missing."""
    lacking: tuple[Counted, ...]
    """Patients by the number of columns that they have no value of."""
    records: tuple[Counted, ...]
    """Patients by their number of records; empty where each has one."""
    columns: tuple[ColumnStatistics, ...]
    correlations: tuple[Correlation, ...]
    differences: tuple[Difference, ...]
    by_chance: float | None
    """What ``differences`` stay below in 95 of 100 cases if sites do not differ."""


def describe_statistics(study: str, terms: Terms, counts: Sequence[int], sites: Sequence[str]) -> Statistics:
    """Describe what opened totals say.

    Args:
        study: its identifier.
        terms: a study of statistics.
        counts: (cells,) as opened.
        sites: of the cohort.

    Raises:
        ValueError: the counts are not as many as the study has cells.
    """
    task, noise = make_task(terms.task, terms.data), compute_evaluation_noise(terms)
    epsilon, delta = terms.privacy.epsilon, terms.privacy.delta
    assert isinstance(task, StatisticsTask), "the study counts only"
    assert noise is not None, "statistics always have noise"
    assert epsilon is not None, "and so an epsilon"
    assert delta is not None, "which comes with a delta"
    deviation = compute_totals_deviation(terms, noise, len(sites))
    found = compute_statistics(task, counts, deviation, len(sites))
    return Statistics(
        study=study,
        terms=terms.digest,
        population=terms.data.name,
        purpose=terms.purpose,
        sites=tuple(sorted(sites)),
        epsilon=epsilon,
        delta=delta,
        noise_multiplier=noise,
        groups=len(terms.cell_groups),
        noise_deviation=deviation * float(compute_squared_scales(terms.cell_groups)[0] ** 0.5) / UNIT,
        colluders=terms.cohort.colluders,
        patients=_to_figure(found.patients),
        complete=None if found.complete is None else _to_figure(found.complete),
        lacking=_list_counted(found.lacking),
        records=_list_counted(found.records),
        columns=tuple(_describe_column(each) for each in found.columns),
        correlations=tuple(
            Correlation(first=first, second=second, correlation=_to_figure(each))
            for (first, second), each in found.correlations.items()
        ),
        differences=tuple(Difference(column=name, share=_to_figure(each)) for name, each in found.between.items()),
        by_chance=found.by_chance,
    )


def _describe_column(found: ColumnFigures) -> ColumnStatistics:
    measure = found.measure
    return ColumnStatistics(
        name=measure.name,
        number=measure.is_number,
        stands_for=measure.stands_for,
        days=measure.days,
        low=measure.low if measure.is_number else None,
        high=measure.high if measure.is_number else None,
        counts=_list_counted(found.counts),
        missing=None if found.missing is None else _to_figure(found.missing),
        mean=None if found.mean is None else _to_figure(found.mean),
        deviation=None if found.deviation is None else _to_figure(found.deviation),
    )


def _to_figure(estimate: Estimate) -> Figure:
    return Figure(value=estimate.value, error=estimate.error)


def _list_counted(counts: Sequence[WordCount]) -> tuple[Counted, ...]:
    return tuple(Counted(label=each.label, patients=each.patients, error=each.error) for each in counts)
