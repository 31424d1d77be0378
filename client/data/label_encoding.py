"""Turn the words of a table's label into target tensors, by the study's contract and nothing else.

Rules (which columns and tensors a label has: ``privacy/study/data/labels.py``):

* a word that the contract does not know is a mistake; a label is never missing;
* a number is scaled from its public range to [0, 1] and clipped to it;
* a survival time beyond ``longest`` counts as ``longest``, and what happened then as censored: up to ``longest``
  nothing had happened. A time below 0 is a mistake;
* every mistake is found, not only the first; its sentence names column and count, never a value.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.csv import Words
from client.data.encoding import NOT_A_NUMBER, ColumnCounts, add_mistake, read_number
from client.data.mistakes import Mistake
from client.data.scaling import scale
from privacy.study.data.labels import BinaryLabel, ClassLabel, Label, NumberLabel, SeveralLabels, SurvivalLabel


@dataclass(frozen=True, eq=False)
class EncodedTargets:
    """The label of a table as tensors, row by row; not usable where there are mistakes.

    Attributes:
        targets: (rows, ...) each, by the name of the contract's tensor; empty if the file lacks a column of the label.
        counts: of each column of numbers.
        mistakes: what breaks the contract.
    """

    targets: Mapping[str, NDArray[Any]] = field(repr=False)
    counts: tuple[ColumnCounts, ...]
    mistakes: tuple[Mistake, ...]


def encode_targets(label: Label, words: Words, *, scaled: bool = True) -> EncodedTargets:
    """Turn the columns of ``label`` into its target tensors; numbers as they are, if not ``scaled``."""
    columns = {name: words.columns[name] for name in label.list_columns() if name in words.columns}
    mistakes, counts = list[Mistake](), list[ColumnCounts]()
    targets = dict[str, NDArray[Any]]()
    complete = len(columns) == len(label.list_columns())
    match label:
        case BinaryLabel() if complete:
            targets["label"] = _encode_yes_or_no(label, columns[label.name], words.lines, mistakes)
        case ClassLabel() if complete:
            column = columns[label.name]
            what = "have a word that is of no class"
            targets["label"] = _find_groups(label.name, column, label.classes, what, words.lines, mistakes)
        case NumberLabel() if complete:
            numbers = _read_numbers(label.name, columns[label.name], words.lines, mistakes)
            counts.append(_count_numbers(label.name, numbers, label.low, label.high))
            numbers = scale(numbers, label.low, label.high, "unit") if scaled else numbers
            targets["label"] = numbers.astype(np.float32)
        case SeveralLabels():
            found = [
                _encode_yes_or_no(each, columns[each.name], words.lines, mistakes)
                for each in label.columns
                if each.name in columns
            ]
            if complete:
                targets["labels"] = np.stack(found, axis=1).astype(np.bool_)  # (rows, labels)
        case SurvivalLabel() if complete:
            targets |= _encode_survival(label, columns, words.lines, mistakes, counts, scaled=scaled)
    return EncodedTargets(targets, tuple(counts), tuple(mistakes))


def _encode_yes_or_no(
    label: BinaryLabel, words: Sequence[str], lines: Sequence[int], mistakes: list[Mistake]
) -> NDArray[np.int64]:
    groups = (label.negative, label.positive)
    what = "are neither a positive nor a negative word"
    return _find_groups(label.name, words, groups, what, lines, mistakes)


def _encode_survival(
    label: SurvivalLabel,
    columns: Mapping[str, Sequence[str]],
    lines: Sequence[int],
    mistakes: list[Mistake],
    counts: list[ColumnCounts],
    *,
    scaled: bool,
) -> dict[str, NDArray[Any]]:
    time_words = columns[label.time]
    times = _read_numbers(label.time, time_words, lines, mistakes)
    negative = np.flatnonzero(times < 0).tolist()
    add_mistake(label.time, "are a time below 0", time_words, negative, lines, mistakes)
    counts.append(_count_numbers(label.time, times, 0.0, label.longest))
    groups = (label.censored, *label.causes)
    what = "have a word that is neither censored nor a cause"
    events = _find_groups(label.event, columns[label.event], groups, what, lines, mistakes)
    events[times > label.longest] = 0
    times = scale(times, 0.0, label.longest, "unit") if scaled else times
    return {"time": times.astype(np.float32), "event": events}


def _find_groups(
    name: str,
    words: Sequence[str],
    groups: Sequence[Sequence[str]],
    what: str,
    lines: Sequence[int],
    mistakes: list[Mistake],
) -> NDArray[np.int64]:
    """Find the place of each word's group, (rows,); -1 and a mistake for a word that is in none."""
    place = {word: index for index, group in enumerate(groups) for word in group}
    found = np.array([place.get(word, -1) for word in words], dtype=np.int64)
    add_mistake(name, what, words, np.flatnonzero(found < 0).tolist(), lines, mistakes)
    return found


def _read_numbers(
    name: str, words: Sequence[str], lines: Sequence[int], mistakes: list[Mistake]
) -> NDArray[np.float64]:
    """Read a column of numbers, (rows,); NaN and a mistake for what is none."""
    numbers = [read_number(word) for word in words]
    unreadable = [row for row, number in enumerate(numbers) if number is None]
    add_mistake(name, NOT_A_NUMBER, words, unreadable, lines, mistakes)
    return np.array([math.nan if number is None else number for number in numbers], dtype=np.float64)


def _count_numbers(name: str, numbers: NDArray[np.float64], low: float, high: float) -> ColumnCounts:
    below, above = int((numbers < low).sum()), int((numbers > high).sum())
    read = numbers[~np.isnan(numbers)]
    constant = len(read) > 0 and float(read.min()) == float(read.max())
    return ColumnCounts(name, len(numbers), 0, below, above, constant)
