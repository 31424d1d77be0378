"""Read the requested columns of a CSV file that keeps its contract as words, with the line on which each row begins.

Rules:

* a regular file of at most ``MAX_TABLE_BYTES``, UTF-8 with or without a byte order mark, commas, a header row. It
  is read once and in pieces, so that a device, or a line without an end, is refused before it fills the memory;
* nothing is guessed: semicolons, a header in other letter case, a line above the header are named, not accepted. A file
  that is written otherwise is converted by a mapping (``delimited.py``);
* a word is the text of the field without spaces around it, in Unicode NFC; other columns may hold anything;
* equal words of a column are held once, so that memory grows by one pointer for each;
* mistakes and errors name columns, lines and counts, never a word (``client/data/mistakes.py``).
"""

import io
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final

from client.data.adapters.delimited import DELIMITERS, EMPTY, MAX_FIELD, DelimitedRows, read_lines
from client.data.adapters.hashed_file import HashedFile, require_regular_file
from client.data.adapters.rows import clean_text, describe_absent_columns, simplify_spelling
from client.data.mistakes import MAX_PLACES, Mistake, Place
from privacy.errors import DataError, DataUnavailableError

__all__ = ["MAX_FIELD", "MAX_TABLE_BYTES", "Words", "read_words"]

MAX_TABLE_BYTES: Final = 4 << 30
_LINES_ABOVE_HEADER: Final = 20
_MOST_SHARED: Final = 1 << 16  # different words of a column that are remembered
_CONTRACT: Final = "the contract"
_OTHER_FORMATS: Final = {
    b"PK\x03\x04": "it looks like an Excel workbook or a ZIP archive",
    b"\x1f\x8b": "it looks like a gzip archive",
    b"PAR1": "it looks like a Parquet file",
    b"\xff\xfe": "it looks like UTF-16",
    b"\xfe\xff": "it looks like UTF-16",
}


@dataclass(frozen=True, eq=False)
class Words:
    """The columns of a table.

    Attributes:
        columns: each column's words, row by row; a column that the file lacks is not in it.
        lines: the line on which each row begins; (rows,).
        sha256: of the file's bytes, hexadecimal.
        mistakes: columns that are absent, rows of another length (they are not in ``columns``).
    """

    columns: Mapping[str, Sequence[str]] = field(repr=False)
    lines: Sequence[int] = field(repr=False)
    sha256: str
    mistakes: tuple[Mistake, ...]


def read_words(path: Path, names: Sequence[str]) -> Words:
    """Read the columns ``names`` of the CSV file ``path``.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it is not such a file, or has none of the columns.
    """
    try:
        _require_table_file(path)
        with path.open("rb", buffering=0) as raw:
            hashed = HashedFile(raw)
            text = io.TextIOWrapper(io.BufferedReader(hashed, 1 << 18), encoding="utf-8-sig", newline="")
            try:
                return _read_columns(read_lines(text), names, hashed)
            except UnicodeDecodeError:
                raise DataError(
                    f"expected a CSV file in UTF-8, got other bytes{_describe_format(hashed.first)}"
                ) from None
    except OSError as cause:
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _require_table_file(path: Path) -> None:
    """Refuse, before it is opened, what has no end or would fill the memory."""
    require_regular_file(path, if_empty=EMPTY)
    if (size := path.stat().st_size) > MAX_TABLE_BYTES:
        raise DataError(f"expected at most {MAX_TABLE_BYTES} bytes, got {size}; leave out columns or rows")


def _describe_format(first: bytes) -> str:
    found = [words for magic, words in _OTHER_FORMATS.items() if first.startswith(magic)]
    return f": {found[0]}; export it as CSV UTF-8" if found else "; save it as CSV UTF-8"


def _read_columns(lines: Iterator[str], names: Sequence[str], hashed: HashedFile) -> Words:
    first = next(lines, "")
    rows = iter(DelimitedRows(chain([first], lines)))
    try:
        _, header = next(rows, (0, []))
    except DataError:
        if separated := _describe_separator(names, first):
            raise DataError(describe_absent_columns(names, names, (), _CONTRACT) + separated) from None
        raise
    header = [clean_text(name) for name in header]
    present = [name for name in names if name in header]
    if not present:
        why = _describe_separator(names, first) or _describe_late_header(names, rows) or f"; {EMPTY}"
        lacking = describe_absent_columns(names, names, header, _CONTRACT)
        raise DataError(lacking if "did you mean" in lacking else lacking + why)
    mistakes = []
    if absent := [name for name in names if name not in header]:
        mistakes.append(Mistake(describe_absent_columns(absent, names, header, _CONTRACT)))
    if twice := [name for name in names if header.count(name) > 1]:
        mistakes.append(Mistake(f"the header names a column twice: {', '.join(twice)}"))
    places = [header.index(name) for name in present]
    columns = [_SharedWords() for _ in present]
    begins, uneven, unevens = array("q"), 0, list[Place]()
    for line, row in rows:
        if len(row) != len(header):
            uneven += 1
            unevens += [Place(line, f"{len(row)} fields")] if uneven <= MAX_PLACES else []
            continue
        begins.append(line)
        for column, place in zip(columns, places, strict=True):
            column.add(row[place])
    if uneven:
        mistakes.append(
            Mistake(f"{uneven} rows do not have the header's {len(header)} fields", None, tuple(unevens))
        )
    elif not begins:
        raise DataError("has no rows")
    found = {name: column.words for name, column in zip(present, columns, strict=True)}
    return Words(found, begins, hashed.sha256, tuple(mistakes))


class _SharedWords:
    """The words of a column; equal ones are one object."""

    def __init__(self) -> None:
        self.words = list[str]()
        self._known: dict[str, str] = {}

    def add(self, text: str) -> None:
        word = self._known.get(text)
        if word is None:
            word = clean_text(text)
            if len(self._known) < _MOST_SHARED:
                word = self._known.setdefault(word, word)
                self._known.setdefault(text, word)
        self.words.append(word)


def _describe_separator(names: Sequence[str], header: str) -> str:
    """Describe what separates the columns of the line ``header``, if not commas."""
    wanted = {simplify_spelling(name) for name in names}
    for separator, words in DELIMITERS.items():
        if separator == ",":
            continue
        found = len({simplify_spelling(part) for part in header.split(separator)} & wanted)
        if separator in header and ("," not in header or found * 2 > len(wanted)):
            return f"; its columns are separated by {words}: export it with commas"
    return ""


def _describe_late_header(names: Sequence[str], rows: Iterator[tuple[int, list[str]]]) -> str:
    """Describe which of the first lines names the columns, if the first one does not."""
    wanted = {simplify_spelling(name) for name in names}
    for line, row in rows:
        if line > _LINES_ABOVE_HEADER:
            break
        if wanted & {simplify_spelling(name) for name in row}:
            return f"; line {line} names them: remove the lines above it"
    return ""
