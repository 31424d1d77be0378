"""Turn the words of a table's features into numbers, by the study's contract and nothing else.

Rules:

* only public choices shape the numbers: ranges and vocabularies of the contract, nothing measured on patients;
* a number is scaled from its public range, to [-1, 1] or to [0, 1] as the contract says, and clipped to it. A missing
  number is the middle, 0 or 0.5, with its indicator at 1;
* a category is one-hot. A missing one is all zeros, with its indicator at 1;
* a patient is identified by the normal form of their identifier (``client/data/identifiers.py``); labels are in
  ``client/data/label_encoding.py``;
* every mistake is found, not only the first; its sentence names column and count, never a value.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.csv import Words
from client.data.identifiers import is_usable, normalise
from client.data.mistakes import Mistake, list_places
from client.data.scaling import scale
from privacy.study import Category, Number, TableContract

Absent = NDArray[np.bool_]


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


def encode_features(contract: TableContract, words: Words) -> Encoded:
    """Turn the features of ``words`` into numbers; columns that the file lacks are left out."""
    parts, counts, mistakes = list[NDArray[np.float64]](), list[ColumnCounts](), list[Mistake]()
    for feature in contract.features:
        if feature.name not in words.columns:
            continue
        column = words.columns[feature.name]
        absent = np.array([word in contract.missing for word in column], dtype=bool)
        if isinstance(feature, Number):
            encoded, (below, above) = _scale_numbers(
                feature, column, absent, words.lines, mistakes, contract.scaled
            )
        else:
            encoded, (below, above) = _encode_one_hot(feature, column, absent, words.lines, mistakes), (0, 0)
        parts += [encoded, absent[:, None].astype(np.float64)]  # (rows, 1 or vocabulary), (rows, 1)
        seen = {word for word, gone in zip(column, absent, strict=True) if not gone}
        counts.append(
            ColumnCounts(feature.name, len(column), int(absent.sum()), below, above, constant=len(seen) == 1)
        )
    features = np.concatenate(parts, axis=1) if parts else np.empty((len(words.lines), 0))
    return Encoded(features.astype(np.float32), tuple(counts), tuple(mistakes))


def name_patients(contract: TableContract, words: Words, mistakes: list[Mistake]) -> list[str]:
    """Return the normal form of each row's patient, (rows,); a row that names no patient is a mistake."""
    column = words.columns.get(contract.patient, ())
    ids = [normalise(word) for word in column]
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
) -> NDArray[np.float64]:
    """Encode a category as one-hot, (rows, vocabulary), all zeros where absent."""
    place = {word: index for index, word in enumerate(feature.values)}
    indices = np.array([place.get(word, -1) for word in words], dtype=np.int64)
    unknown = np.flatnonzero((indices < 0) & ~absent).tolist()
    add_mistake(feature.name, "have a word outside the vocabulary", words, unknown, lines, mistakes)
    hot = (indices[:, None] == np.arange(len(feature.values))) & ~absent[:, None]  # (rows, vocabulary)
    return np.asarray(hot, dtype=np.float64)
