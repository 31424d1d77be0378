"""Turn the words of a table's features into numbers, by the study's contract and nothing else.

Rules:

* only public choices shape the numbers: ranges and vocabularies of the contract, nothing measured on patients;
* a number is scaled from its public range, to [-1, 1] or to [0, 1] as the contract says, and clipped to it. A missing
  number is the middle, 0 or 0.5, with its indicator at 1;
* a category is one-hot, a text has a one for each of its words or buckets. A missing one is all zeros, with its
  indicator at 1;
* a date is days in a public range, a number like any other; or the sine and the cosine of its place in the year;
* a patient is identified by the normal form of their identifier (``client/data/identifiers.py``); labels are in
  ``client/data/label_encoding.py``;
* every mistake is found, not only the first; its sentence names column and count, never a value.
"""

import datetime
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.csv import Words
from client.data.identifiers import is_usable, normalise
from client.data.mistakes import Mistake, list_places
from client.data.scaling import scale
from privacy.study import Category, Date, ImagesContract, Number, TableContract, Text
from privacy.study.data.columns import count_encoded, count_numbers

Absent = NDArray[np.bool_]
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH: Final = datetime.date(1970, 1, 1)


@dataclass(frozen=True)
class ColumnCounts:
    """What a column of a table holds, or an array, counted over all rows or values of the file.

    Attributes:
        name: of the column or array.
        rows: rows of the column, or values of the array.
        missing: rows without a value.
        below: numbers below the lower end of the public range, clipped.
        above: numbers above the upper end, clipped.
        constant: whether all rows that have a value have the same one.
        lowest: the lowest number, if there is one; for the owner's own terminal only.
        highest: the highest number, likewise.
    """

    name: str
    rows: int
    missing: int
    below: int
    above: int
    constant: bool
    lowest: float | None = field(default=None, repr=False)
    highest: float | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Encoded:
    """The features of a table as numbers, row by row; not usable where there are mistakes.

    Attributes:
        features: (rows, width) float32.
        counts: of each feature's column, in the contract's order.
        mistakes: what breaks the contract.
    """

    features: NDArray[np.float32] = field(repr=False)
    counts: tuple[ColumnCounts, ...]
    mistakes: tuple[Mistake, ...]


def encode_features(contract: TableContract | ImagesContract, words: Words) -> Encoded:
    """Turn the features of ``words`` into numbers; columns that the file lacks are left out."""
    counts, mistakes = list[ColumnCounts](), list[Mistake]()
    present = [feature for feature in contract.features if feature.name in words.columns]
    features = np.empty((len(words.lines), count_encoded(present)), dtype=np.float32)
    place = 0
    for feature in present:
        column = words.columns[feature.name]
        absent = np.array([word in contract.missing for word in column], dtype=bool)
        below = above = 0
        encoded: NDArray[Any]  # (rows, numbers)
        match feature:
            case Number():
                encoded, (below, above) = _scale_numbers(
                    feature, column, absent, words.lines, mistakes, contract.scaled
                )
            case Category():
                encoded = _encode_one_hot(feature, column, absent, words.lines, mistakes)
            case Date():
                encoded, (below, above) = _encode_dates(
                    feature, column, absent, words.lines, mistakes, contract.scaled
                )
            case Text():
                encoded = _encode_texts(feature, column, absent)
        width = count_numbers(feature)
        features[:, place : place + width] = encoded
        features[:, place + width] = absent
        place += width + 1
        seen = {word for word, gone in zip(column, absent, strict=True) if not gone}
        counts.append(
            ColumnCounts(feature.name, len(column), int(absent.sum()), below, above, constant=len(seen) == 1)
        )
    return Encoded(features, tuple(counts), tuple(mistakes))


def name_patients(contract: TableContract, words: Words, mistakes: list[Mistake]) -> list[str]:
    """Return the normal form of each row's patient, (rows,); a row that names no patient is a mistake."""
    column = words.columns.get(contract.patient, ())
    ids = [word if (name := normalise(word)) == word else name for word in column]  # equal text is held once
    lacking = [row for row, name in enumerate(ids) if not name or name in contract.missing]
    if lacking:
        sentence = f"column '{contract.patient}': {len(lacking)} rows without a patient"
        mistakes.append(Mistake(sentence, contract.patient, list_places(column, words.lines, lacking)))
    unusable = [row for row, name in enumerate(ids) if name and not is_usable(name)]
    if unusable:
        sentence = f"column '{contract.patient}': {len(unusable)} rows have a control character in the patient"
        mistakes.append(Mistake(sentence, contract.patient, list_places(column, words.lines, unusable)))
    return ids


def read_number(word: str) -> float | None:
    """Read a finite decimal number; None for anything else, also for Python's own extras (1_000, nan, inf)."""
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in word else None


def read_date(word: str) -> datetime.date | None:
    """Read a date such as 2024-03-01; None for anything else."""
    try:
        return datetime.date.fromisoformat(word) if _DATE.fullmatch(word) else None
    except ValueError:
        return None


NOT_A_NUMBER: Final = "are not a number (decimal point, no units)"


def add_mistake(
    column: str,
    what: str,
    words: Sequence[str],
    rows: Sequence[int],
    lines: Sequence[int],
    mistakes: list[Mistake],
) -> None:
    """Add the mistake that ``rows`` of ``column`` are or have ``what``; nothing if there are no such rows."""
    if rows:
        counted = Counter(words[row] for row in rows)
        sentence = f"column '{column}': {len(rows)} rows {what}"
        mistakes.append(Mistake(sentence, column, list_places(words, lines, rows), counted))


def _scale_numbers(
    feature: Number,
    words: Sequence[str],
    absent: Absent,
    lines: Sequence[int],
    mistakes: list[Mistake],
    scaled: Literal["signed", "unit"],
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Scale a column, (rows, 1), to the middle where absent; count what was clipped at each end of the range."""
    middle = (feature.low + feature.high) / 2
    numbers = [middle if gone else read_number(word) for word, gone in zip(words, absent, strict=True)]
    unreadable = [row for row, number in enumerate(numbers) if number is None]
    add_mistake(feature.name, NOT_A_NUMBER, words, unreadable, lines, mistakes)
    values = np.array([math.nan if number is None else number for number in numbers], dtype=np.float64)
    inside = scale(values, feature.low, feature.high, scaled)
    inside[absent] = 0.0 if scaled == "signed" else 0.5
    return inside[:, None], (int((values < feature.low).sum()), int((values > feature.high).sum()))


def _encode_one_hot(
    feature: Category, words: Sequence[str], absent: Absent, lines: Sequence[int], mistakes: list[Mistake]
) -> NDArray[np.bool_]:
    """Encode a category as one-hot, (rows, vocabulary), all zeros where absent."""
    place = {word: index for index, word in enumerate(feature.values)}
    indices = np.array([place.get(word, -1) for word in words], dtype=np.int64)
    unknown = np.flatnonzero((indices < 0) & ~absent).tolist()
    add_mistake(feature.name, "have a word outside the vocabulary", words, unknown, lines, mistakes)
    indices[absent] = -1
    hot: NDArray[np.bool_] = indices[:, None] == np.arange(len(feature.values))  # (rows, vocabulary)
    return hot


NOT_A_DATE: Final = "are not a date (year-month-day, such as 2024-03-01)"


def _encode_dates(
    feature: Date,
    words: Sequence[str],
    absent: Absent,
    lines: Sequence[int],
    mistakes: list[Mistake],
    scaled: Literal["signed", "unit"],
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Encode dates, (rows, 1 or 2), to the middle where absent; count what was clipped at each end of the range."""
    known: dict[str, datetime.date | None] = {word: read_date(word) for word in set(words)}
    dates = [None if gone else known[word] for word, gone in zip(words, absent, strict=True)]
    unreadable = [row for row, date in enumerate(dates) if date is None and not absent[row]]
    add_mistake(feature.name, NOT_A_DATE, words, unreadable, lines, mistakes)
    middle = 0.0 if scaled == "signed" else 0.5
    if feature.taken == "days":
        low, high = feature.days
        days = np.array([math.nan if date is None else (date - _EPOCH).days for date in dates], dtype=np.float64)
        inside = scale(days, low, high, scaled)
        inside[absent] = middle
        return inside[:, None], (int((days < low).sum()), int((days > high).sum()))
    turns = np.array([math.nan if date is None else _find_turn(feature, date) for date in dates], dtype=np.float64)
    waves = np.stack([np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)], axis=1)  # (rows, 2)
    waves = waves if scaled == "signed" else (waves + 1.0) / 2.0
    waves[absent] = middle
    return waves, (0, 0)


def _find_turn(feature: Date, date: datetime.date) -> float:
    """Return the place of a date in its year, from 0 (January, or the first day) to below 1."""
    if feature.taken == "month":
        return (date.month - 1) / 12
    day = date.timetuple().tm_yday
    return (day - 1) / (366 if datetime.date(date.year, 12, 31).timetuple().tm_yday == 366 else 365)


def _encode_texts(feature: Text, words: Sequence[str], absent: Absent) -> NDArray[np.bool_]:
    """Encode texts as the set of their words, (rows, places); all zeros where absent."""
    found = np.zeros((len(words), feature.places), dtype=bool)
    for row, text in enumerate(words):
        if not absent[row]:
            found[row, sorted(feature.find_places(text))] = True
    return found
