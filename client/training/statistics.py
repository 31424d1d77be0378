"""Count what a site's patients add to the cells of a study of statistics; never what one of them adds.

Rules:

* what a patient may add is bounded by the groups of ``privacy/study/tasks/statistics.py``: each contribution is an
  integer of the bounded size that stands there, whatever the records hold;
* all patients of the registered files count, those for training and those for testing, except for those who object;
* a patient with several records counts once, with the last one kept;
* a number beyond its public range is clipped to it. A value on the edge of two bins is in the upper one; so is a value
  that is less than ``_ON_EDGE`` of a bin below the edge, since records are kept as float32;
* counting is total: whether a site answers must not depend on a record.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from client.data.examples import Patients
from privacy.study import AnyContract, Terms
from privacy.study.data.tensors import Flags, Ids, Numbers
from privacy.study.tasks.measures import Form, Measure
from privacy.study.tasks.statistics import MISSING_COLUMNS, UNIT, StatisticsTerms, list_record_ranges

_BATCH: Final = 8192  # patients at a time
_ON_EDGE: Final = 1e-4
_Integers = NDArray[np.int64]


class _Column(NamedTuple):
    """A measure of some patients, each (patients,).

    Attributes:
        place: the bin of a number, or the word.
        scaled: the number, or the word of two, in whole units from -UNIT to UNIT.
        absent: whether there is no value.
    """

    place: _Integers
    scaled: _Integers
    absent: NDArray[np.bool_]


def count_statistics(tables: Sequence[Patients], terms: Terms) -> tuple[int, ...]:
    """Count what the patients of ``tables`` add to the cells of the study's groups; (cells,)."""
    task, contract = terms.task, terms.data
    assert isinstance(task, StatisticsTerms)
    measures = task.choose_measures(contract)
    sums: dict[str, _Integers] = {}
    spread = dict.fromkeys(task.differences, (0, 0))  # n and S of the docstring there
    for columns, records in (part for table in tables for part in _read_in_parts(table, measures, task, contract)):
        for name, cells in _count_part(columns, records, measures, task, contract).items():
            sums[name] = sums[name] + cells if name in sums else cells
        for name, (number, total) in spread.items():
            there = ~columns[name].absent
            spread[name] = number + int(there.sum()), total + int(columns[name].scaled[there].sum())
    for name, (number, total) in spread.items():
        # rounded down: part of the bound
        sums[f"difference of {name}"] = np.array([total**2 // (number * UNIT) if number else 0], dtype=np.int64)
    found = [sums.get(group.name, np.zeros(group.cells, dtype=np.int64)) for group in terms.cell_groups]
    return tuple(int(each) for each in np.concatenate(found))


def _read_in_parts(
    table: Patients, measures: Sequence[Measure], task: StatisticsTerms, contract: AnyContract
) -> Iterator[tuple[Mapping[str, _Column], _Integers]]:
    """Read the last record of some patients at a time: the columns, and how many records each patient has."""
    last = np.flatnonzero(np.diff(table.patient, append=table.patients))  # (patients,)
    records = np.bincount(table.patient, minlength=table.patients)
    for start in range(0, len(last), _BATCH):
        rows = last[start : start + _BATCH]
        columns = {each.name: _read_column(each, table, rows, task.bins, contract) for each in measures}
        yield columns, records[start : start + _BATCH]


def _read_column(measure: Measure, table: Patients, rows: _Integers, bins: int, contract: AnyContract) -> _Column:
    values = np.asarray(table.find(measure.tensor)[rows])  # (patients, ...)
    absent = np.zeros(len(rows), dtype=bool) if measure.indicator is None else values[:, measure.indicator] > 0.5
    if not measure.is_number:
        place = np.clip(_find_word(measure, values, contract), 0, len(measure.words) - 1)
        return _Column(place, np.where(place == 0, -UNIT, UNIT), absent)
    numbers = np.nan_to_num(_scale_number(measure, values, contract), nan=0.0, posinf=1.0, neginf=-1.0)
    numbers = np.clip(numbers, -1.0, 1.0)
    place = np.clip(np.floor((numbers + 1.0) / 2.0 * bins + _ON_EDGE).astype(np.int64), 0, bins - 1)
    return _Column(place, np.rint(numbers * UNIT).astype(np.int64), absent)


def _find_word(measure: Measure, values: NDArray[Any], contract: AnyContract) -> _Integers:
    """Find which word of a measure each record has; (patients,)."""
    match measure.form:
        case Form.WHOLE:
            return np.asarray(values.astype(np.int64))
        case Form.ONE:
            return np.asarray(values[:, measure.place].astype(np.int64))
        case Form.ONE_HOT:
            return np.asarray(values[:, measure.place : measure.place + len(measure.words)].argmax(axis=1))
        case Form.TURN:
            tensor = contract.find_tensor(measure.tensor)
            assert isinstance(tensor, Numbers)
            middle = sum(tensor.range) / 2.0  # where sine and cosine are zero
            angle = np.arctan2(values[:, measure.place] - middle, values[:, measure.place + 1] - middle)
            parts = np.floor(angle / (2 * np.pi) * len(measure.words) + _ON_EDGE)
            return np.asarray(parts.astype(np.int64) % len(measure.words))
        case Form.PRESENT:
            return np.zeros(len(values), dtype=np.int64)


def _scale_number(measure: Measure, values: NDArray[Any], contract: AnyContract) -> NDArray[np.float64]:
    """Return the number that a measure takes of each record, from its public range to [-1, 1]; (patients,)."""
    tensor = contract.find_tensor(measure.tensor)
    if measure.form is Form.ONE:
        values = values[:, measure.place]
    flat = values.reshape(len(values), -1)  # (patients, values)
    match tensor:
        case Numbers():
            low, high = tensor.range
            return np.asarray(2.0 * (flat.mean(axis=1, dtype=np.float64) - low) / (high - low) - 1.0)
        case Ids() | Flags():
            return np.asarray(2.0 * (flat != 0).mean(axis=1, dtype=np.float64) - 1.0)
    raise AssertionError(f"the contract lost its tensor '{measure.tensor}'")


def _count_part(
    columns: Mapping[str, _Column],
    records: _Integers,
    measures: Sequence[Measure],
    task: StatisticsTerms,
    contract: AnyContract,
) -> dict[str, _Integers]:
    """Count what some patients add, by the name of the group."""
    found = {"patients": np.array([len(records) * UNIT], dtype=np.int64)}
    if any(measure.missing for measure in measures):
        lacking = np.sum([columns[measure.name].absent for measure in measures], axis=0)  # (patients,)
        found["missing columns"] = _count_places(np.minimum(lacking, MISSING_COLUMNS - 1), MISSING_COLUMNS)
    if contract.records_per_patient > 1:
        ends = [last for _, last in list_record_ranges(contract.records_per_patient)]
        found["records"] = _count_places(np.minimum(np.searchsorted(ends, records), len(ends) - 1), len(ends))
    for measure in measures:
        column, cells = columns[measure.name], task.bins if measure.is_number else len(measure.words)
        found[f"column {measure.name}"] = _count_places(
            np.where(column.absent, cells, column.place), cells + measure.missing
        )
        if measure.is_number:
            value = np.where(column.absent, 0, column.scaled)
            found[f"moments of {measure.name}"] = np.array([value.sum(), _multiply(value, value).sum()])
    for first, second in task.pairs:
        a, b = columns[first], columns[second]
        both = ~(a.absent | b.absent)
        x, y = a.scaled[both], b.scaled[both]
        products = (x, y, _multiply(x, x), _multiply(y, y), _multiply(x, y))
        found[f"pair of '{first}' and '{second}'"] = np.array([len(x) * UNIT, *(each.sum() for each in products)])
    return found


def _count_places(places: _Integers, cells: int) -> _Integers:
    return np.bincount(places, minlength=cells).astype(np.int64) * UNIT


def _multiply(x: _Integers, y: _Integers) -> _Integers:
    """Multiply numbers in whole units, rounded to whole units; of two from -UNIT to UNIT the product is so too."""
    return (x * y + UNIT // 2) // UNIT
