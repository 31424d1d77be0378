"""The task ``statistics``: count what the patients are like, and learn nothing. A study of it has one exchange.

What each patient adds is an integer in units of 1/``UNIT``, and depends on this patient alone, with one exception that
is bounded below. A patient with several records counts with the last one kept. All patients of a site count, those of
its training file and those of its test file.

=======================  =================================================================  ===============
group                    cells                                                              D^2, in UNIT^2
=======================  =================================================================  ===============
``patients``             1 for every patient                                                1
``missing columns``      in how many of the counted columns the patient has no value        1
``records``              how many records the patient has, by powers of two                 1
``column``, each         the bin of the public range, or the word; or the cell of missing   1
``moments`` of a number  v and v^2, with v scaled to [-1, 1]; nothing where it is missing   2
``pair`` of columns      1, v, w, v^2, w^2 and v w where both have a value                  6
``difference`` of sites  a site adds S^2 / n, from the n patients with a value and S, the   (3 + 1/UNIT)^2
                         sum of their v
=======================  =================================================================  ===============

**The difference of sites.** With n patients whose values have the mean m, both m and v in [-1, 1], one patient more
changes S^2 / n by (2 n m v + v^2 - n m^2) / (n + 1). This is at most 1 (m = v = 1) and more than -3 (m = 1, v = -1).
Rounding down to a whole unit adds less than one unit. Summed over sites, S^2 / n says how much of the spread is between
sites. Two equations (the sum of S, the sum of S^2 / n) can be solved for two unknown sites. So it may be asked for only
where at least three sites are unknown to all insiders together (:data:`LEAST_UNKNOWN_SITES`).

Noise is that of any totals (``task.py``): one Gaussian over all groups. It is added in shares
(``privacy/mechanisms/shared_totals.py``).
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from privacy.study.data.contract import DataContract
from privacy.study.tasks.measures import Measure, is_of_two, list_measures
from privacy.study.tasks.task import CellGroup, TaskTerms

UNIT: Final = 256
"""What a patient who counts once adds; a site's cells hold 8 million patients.

A site with more than half of that to train on refuses, since others only test, and noise needs room too
(:func:`privacy.mechanisms.shared_totals.compute_largest_count`)."""
LEAST_UNKNOWN_SITES: Final = 3
"""The fewest sites of a cohort, without those that conspire, whose differences may be asked for."""
MISSING_COLUMNS: Final = 5
"""Cells of the group ``missing columns``: 0 to 3 columns, and 4 or more."""
PAIR_SUMS: Final = 6
MOST_COLUMNS: Final = 200
MOST_PAIRS: Final = 100

ColumnName = Annotated[str, Field(min_length=1, max_length=200)]
Pair = Annotated[tuple[ColumnName, ...], Field(min_length=2, max_length=2)]


class StatisticsTerms(TaskTerms):
    """Counts, missing values, histograms, means, spreads and correlations, of all sites together.

    Attributes:
        columns: what is counted: columns of a table, tensors of arrays; empty means all of them.
        bins: into how many equal bins the public range of a number is divided.
        pairs: pairs of ``columns`` whose correlation is wanted, both numbers or yes-or-no.
        differences: numbers or yes-or-no columns of which it is wanted how much of their spread is between sites.
    """

    kind: Literal["statistics"]
    columns: Annotated[tuple[ColumnName, ...], Field(max_length=MOST_COLUMNS)] = ()
    bins: int = Field(default=10, ge=2, le=100)
    pairs: Annotated[tuple[Pair, ...], Field(max_length=MOST_PAIRS)] = ()
    differences: Annotated[tuple[ColumnName, ...], Field(max_length=MOST_COLUMNS)] = ()

    def choose_measures(self, contract: DataContract) -> tuple[Measure, ...]:
        """Choose the measures that are counted, in the order in which the terms name them, or in the contract's."""
        known = {measure.name: measure for measure in list_measures(contract)}
        return tuple(known[name] for name in self.columns) if self.columns else tuple(known.values())

    def find_measure(self, contract: DataContract, name: str) -> Measure:
        """Find a measure that is counted; the contract must have no misfit."""
        return next(measure for measure in self.choose_measures(contract) if measure.name == name)

    def list_targets(self) -> tuple[str, ...]:
        """List nothing: no model's outputs are compared with anything."""
        return ()

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe which column is unknown, named twice, or of a kind that cannot be averaged."""
        known = {measure.name: measure for measure in list_measures(contract)}
        chosen = self.columns or tuple(known)
        if not known:
            return "the data have nothing that can be counted; each id has too many words"
        if len(chosen) > MOST_COLUMNS:
            return (
                f"the data have {len(chosen)} columns, at most {MOST_COLUMNS} are counted; name some under columns"
            )
        if unknown := sorted(set(self.columns) - set(known)):
            return f"columns: the data have no '{unknown[0]}' that can be counted; they have {', '.join(known)}"
        if len(set(chosen)) < len(chosen):
            return "columns: a column is named twice"
        if len({frozenset(pair) for pair in self.pairs}) < len(self.pairs) or any(a == b for a, b in self.pairs):
            return "pairs: expected two different columns in each, and no pair twice"
        if len(set(self.differences)) < len(self.differences):
            return "differences: a column is named twice"
        averaged = [*(("pairs", name) for pair in self.pairs for name in pair)]
        averaged += [("differences", name) for name in self.differences]
        for key, name in averaged:
            if name not in chosen:
                return f"{key}: '{name}' is not counted; counted are {', '.join(chosen)}"
            if not (known[name].is_number or is_of_two(known[name])):
                return f"{key}: expected a number or a column of two words that is never missing, got '{name}'"
        return None

    def compute_output_shape(self, contract: DataContract) -> tuple[int, ...]:
        """Return (): there is no model."""
        return ()

    def list_cell_groups(self, contract: DataContract, bins: int) -> tuple[CellGroup, ...]:
        """List the groups of the table above; ``bins`` of the evaluation does not matter."""
        measures, one = self.choose_measures(contract), UNIT**2
        groups = [CellGroup("patients", 1, one, histogram=False)]
        if any(measure.missing for measure in measures):
            groups.append(CellGroup("missing columns", MISSING_COLUMNS, one))
        if contract.records_per_patient > 1:
            groups.append(CellGroup("records", len(list_record_ranges(contract.records_per_patient)), one))
        groups += [
            CellGroup(
                f"column {measure.name}",
                (self.bins if measure.is_number else len(measure.words)) + measure.missing,
                one,
            )
            for measure in measures
        ]
        groups += [
            CellGroup(f"moments of {measure.name}", 2, 2 * one, histogram=False)
            for measure in measures
            if measure.is_number
        ]
        groups += [
            CellGroup(f"pair of '{a}' and '{b}'", PAIR_SUMS, PAIR_SUMS * one, histogram=False)
            for a, b in self.pairs
        ]
        groups += [
            CellGroup(f"difference of {name}", 1, (3 * UNIT + 1) ** 2, histogram=False) for name in self.differences
        ]
        return tuple(groups)


def list_record_ranges(most: int) -> tuple[tuple[int, int], ...]:
    """List the ranges of the group ``records`` up to ``most`` records: 1, 2, 3 to 4, 5 to 8 and so on.

    >>> list_record_ranges(6)
    ((1, 1), (2, 2), (3, 4), (5, 6))
    """
    ranges, first, last = list[tuple[int, int]](), 1, 1
    while first <= most:
        ranges.append((first, min(last, most)))
        first, last = last + 1, 2 * last
    return tuple(ranges)
