"""Define what readers of tables yield: some rows at a time, as words, with the place of each row.

Every format gives the same words for the same data, so that it does not matter in which one a hospital keeps them:

==================  ==========================================================================================
value               word
==================  ==========================================================================================
text                without spaces around it, in Unicode NFC
whole number        its digits: ``12``
other number        the shortest one that means the same, ``12.5``; ``12.0`` is ``12``. It is written with the
                    source's decimal mark
date                ``2024-03-01``
date and time       ``2024-03-01T14:30:00``, with its offset (``+01:00``) if it has one; no time zone of this
                    machine is used. Without a time of the day it is a date
yes and no          ``true`` and ``false``
nothing             the empty word: an empty field, NULL, a number that is none (NaN)
==================  ==========================================================================================

Rules:

* an **identifier** is a text or a whole number. One that is stored as a number with a point, or as a number of more
  than fifteen digits in a spreadsheet, has lost what it was; its row is a problem;
* a problem of one row (:data:`ReportRow`) leaves out the row. What concerns the whole source is a DataError;
* neither holds a value.
"""

import datetime
import math
import unicodedata
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import numpy as np

from privacy.errors import DataError

CHUNK_ROWS: Final = 8192

ReportRow = Callable[[str, int, str], None]
"""Called for a row that is left out, with the reason, the row's place, and the column if it is about one."""


@dataclass(frozen=True, eq=False)
class RowChunk:
    """Some rows of a table, in its order.

    Attributes:
        source: the name of the file or table, for messages.
        columns: the words of each column that was asked for, and is there; (rows,) each.
        places: of each row, from 1: the line on which it begins in a text file, the row of a sheet, or of a result.
    """

    source: str
    columns: Mapping[str, Sequence[str]] = field(repr=False)
    places: Sequence[int] = field(repr=False)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.places)


@dataclass(frozen=True)
class Wanted:
    """The columns that a reader is asked for.

    Attributes:
        columns: their names, as in the source.
        optional: those of them that may be absent.
        ids: those of them that hold identifiers.
    """

    columns: tuple[str, ...]
    optional: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()

    def list_present(self, header: Sequence[str]) -> list[str]:
        """Return the columns that are in ``header``.

        Raises:
            DataError: one is absent that must be there, or is there twice.
        """
        absent = [name for name in self.columns if name not in header and name not in self.optional]
        if absent:
            raise DataError(describe_absent_columns(absent, self.columns, header))
        present = [name for name in self.columns if name in header]
        if twice := [name for name in present if list(header).count(name) > 1]:
            raise DataError(f"the header names a column twice: {', '.join(twice)}; give each its own name")
        return present


class UnusableValueError(Exception):
    """A value that gives no word; the message is a clause without the value."""


def clean_text(text: str) -> str:
    """Return a text as a word: no spaces around it, Unicode NFC."""
    word = text.strip()
    return word if word.isascii() else unicodedata.normalize("NFC", word)


def write_word(value: Any, decimal: str = ".", *, is_id: bool = False) -> str:
    """Write a value of a typed source (a database, Parquet, a spreadsheet) as a word.

    Args:
        value: of any type that such a source gives.
        decimal: the source's decimal mark.
        is_id: whether it is an identifier.

    Raises:
        UnusableValueError: it is of another type, or an identifier that has lost what it was.

    >>> write_word(12.0), write_word(12.5, ","), write_word(None), write_word(True)
    ('12', '12,5', '', 'true')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating | Decimal):
        return _write_number(value, decimal, is_id=is_id)
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None and value.time() == datetime.time():
            return value.date().isoformat()
        return value.isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    raise UnusableValueError(f"holds a {type(value).__name__}, expected text, a number, a date, or yes or no")


def write_rows(
    rows: Sequence[Sequence[Any]],
    places: Sequence[int],
    names: Sequence[str],
    wanted: Wanted,
    decimal: str,
    report: ReportRow,
) -> tuple[dict[str, list[str]], list[int]]:
    """Write rows of values as words by column; a row with a value that gives none is reported and left out.

    Args:
        rows: (rows, names) values.
        places: of each row.
        names: the columns.
        wanted: says which of them hold identifiers.
        decimal: the source's decimal mark.
        report: told of every row that is left out.
    """
    columns = [_write_column(column, decimal, is_id=name in wanted.ids) for name, column in _transpose(names, rows)]
    bad = set[int]()
    for name, (_, problems) in zip(names, columns, strict=True):
        for row, reason in problems.items():
            if row not in bad:
                report(reason, places[row], name)
            bad.add(row)
    kept = [row for row in range(len(rows)) if row not in bad] if bad else None
    words = {
        name: column if kept is None else [column[row] for row in kept]
        for name, (column, _) in zip(names, columns, strict=True)
    }
    return words, list(places) if kept is None else [places[row] for row in kept]


def describe_absent_columns(
    absent: Sequence[str], names: Collection[str], header: Sequence[str], of: str = "the mapping"
) -> str:
    """Describe which columns are absent, and which of the header's may be meant; ``of`` says what names them."""
    near = [
        f"did you mean '{column}' for '{name}'?"
        for name in absent
        for column in header
        if column not in names and simplify_spelling(column) == simplify_spelling(name)
    ]
    columns = "column" if len(absent) == 1 else "columns"
    return "; ".join([f"lacks {len(absent)} {columns} of {of}: {', '.join(absent)}", *near])


def simplify_spelling(name: str) -> str:
    """Return a column's name without letter case, spaces and punctuation."""
    return "".join(each for each in name.casefold() if each.isalnum())


def _transpose(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    return zip(names, zip(*rows, strict=True) if rows else ((),) * len(names), strict=True)


def _write_column(values: Sequence[Any], decimal: str, *, is_id: bool) -> tuple[list[str], dict[int, str]]:
    """Return the words of a column, and for each row that has none the reason."""
    words, problems = list[str](), dict[int, str]()
    for row, value in enumerate(values):
        try:
            words.append(write_word(value, decimal, is_id=is_id))
        except UnusableValueError as error:
            words.append("")
            problems[row] = str(error)
    return words, problems


def _write_number(value: Any, decimal: str, *, is_id: bool) -> str:
    if isinstance(value, Decimal):
        if value.is_nan():
            return ""
        if is_id and value.as_tuple().exponent != 0:
            raise UnusableValueError("is an identifier that is stored as a number with a point; store it as text")
        text = f"{value:f}" if value.is_finite() else str(value)
    else:
        if math.isnan(value):
            return ""
        if is_id:
            raise UnusableValueError("is an identifier that is stored as a number with a point; store it as text")
        text = str(value)  # the shortest that gives the same number, of 32 bits or of 64
    if "." in text and "e" not in text:
        text = text.rstrip("0").removesuffix(".")
    return text.replace(".", decimal)
