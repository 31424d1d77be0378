"""Read a matrix of named rows and named columns: similarities of things, or other numbers that are known of them.

Two forms: a table, whose first column names the rows and whose header names the columns; a ``.npz`` file with three
arrays, the values (rows, columns) and both lists of names. Only wanted columns are kept, in the order asked for.

Rules:

* each wanted column stands there once, and each row has a name of its own;
* a missing value is NaN. One that is no number is infinite, and so is unusable: who takes the row finds out.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.arrays import read_arrays
from client.data.adapters.expression import GenesInColumns, Layout
from client.data.identifiers import normalise
from privacy.errors import DataError

MAX_VALUES: Final = 1 << 28  # 1 GiB
_SHOWN: Final = 5  # names of absent columns


@dataclass(frozen=True, eq=False)
class SimilarityMatrix:
    """A matrix in memory.

    Attributes:
        rows: their names, in normal form.
        places: of each row in the file, from 1: its line, or its number.
        values: (rows, columns), float32.
        sha256: of the file.
    """

    rows: Sequence[str] = field(repr=False)
    places: Sequence[int]
    values: NDArray[np.float32] = field(repr=False)
    sha256: str


def read_similarity_table(path: Path, layout: Layout, columns: Sequence[str]) -> SimilarityMatrix:
    """Read ``columns`` of a table, whose rows are things.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it is no such table, lacks a column, or is too large.
    """
    wanted = frozenset(columns)
    reader = GenesInColumns(path, layout, lambda name: name if name in wanted else None, ())
    order = _find_columns(reader.genes, columns)
    names, places, parts, count = list[str](), list[int](), list[NDArray[np.float32]](), 0
    for block in reader.read_blocks():
        count += len(block.samples)
        _require_room(count, len(columns))
        names += [normalise(name) for name in block.samples]
        places += block.places
        parts.append(block.values[:, order].astype(np.float32))
    values = np.concatenate(parts) if parts else np.empty((0, len(columns)), np.float32)
    return _require_names(SimilarityMatrix(names, places, values, reader.sha256))


def read_similarity_arrays(
    path: Path, values: str, row_names: str, column_names: str, columns: Sequence[str]
) -> SimilarityMatrix:
    """Read ``columns`` of the array ``values`` of a ``.npz`` file, with the arrays that name its rows and columns.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it has no such arrays, lacks a column, or is too large.
    """
    file = read_arrays(path, list(dict.fromkeys((values, row_names, column_names))))
    if absent := [name for name in (values, row_names, column_names) if name not in file.arrays]:
        raise DataError(f"lacks the array '{absent[0]}', or it cannot be read")
    table, rows, header = (file.arrays[name] for name in (values, row_names, column_names))
    names, found = _read_names(rows[:], row_names), _read_names(header[:], column_names)
    numbers: NDArray[Any] = np.asarray(table[:])
    if numbers.shape != (len(names), len(found)):
        raise DataError(
            f"array '{values}': expected the shape ({len(names)}, {len(found)}), as the names say, got {numbers.shape}"
        )
    if numbers.dtype.kind not in "fiub":
        raise DataError(f"array '{values}': expected numbers, got {numbers.dtype}")
    _require_room(len(names), len(columns))
    chosen = numbers[:, _find_columns(found, columns)].astype(np.float32)
    return _require_names(SimilarityMatrix(names, range(1, 1 + len(names)), chosen, file.sha256))


def _find_columns(found: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Find the place of each of ``columns``.

    Raises:
        DataError: one is absent, or stands there twice.
    """
    places = {name: place for place, name in enumerate(found)}
    if absent := [name for name in columns if name not in places]:
        raise DataError(
            f"lacks {len(absent)} of the contract's {len(columns)} columns, such as {', '.join(absent[:_SHOWN])}; are "
            "they called otherwise, or is the delimiter another one?"
        )
    times = Counter(found)
    if twice := [name for name in columns if times[name] > 1]:
        raise DataError(f"{len(twice)} of the contract's columns stand there several times, such as '{twice[0]}'")
    return [places[name] for name in columns]


def _require_names(matrix: SimilarityMatrix) -> SimilarityMatrix:
    if not matrix.rows:
        raise DataError("has no row")
    if unnamed := sum(not name for name in matrix.rows):
        raise DataError(f"{unnamed} rows have no name")
    if twice := len(matrix.rows) - len(set(matrix.rows)):
        raise DataError(f"{twice} rows have the name of an earlier one; give each its own")
    return matrix


def _read_names(array: NDArray[Any], name: str) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "USiu":
        raise DataError(f"array '{name}': expected a list of names or numbers, got {array.dtype} {array.shape}")
    try:
        return [normalise(each.decode() if isinstance(each, bytes) else str(each)) for each in array.tolist()]
    except UnicodeDecodeError:
        raise DataError(f"array '{name}': expected names in UTF-8") from None


def _require_room(rows: int, columns: int) -> None:
    if rows * columns > MAX_VALUES:
        raise DataError(f"has more than {MAX_VALUES} values in the contract's columns; leave out rows")
