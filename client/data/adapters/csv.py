"""Read the requested columns of a CSV file as words, row by row, with the line on which each row begins.

Rules:

* a regular file of at most ``MAX_TABLE_BYTES``, UTF-8 with or without a byte order mark, commas, a header row. It
  is read once and in pieces, so that a device, or a line without an end, is refused before it fills the memory;
* nothing is guessed: semicolons, a header in other letter case, a line above the header are named, not accepted;
* a word is the text of the field without spaces around it, in Unicode NFC; other columns may hold anything;
* mistakes and errors name columns, lines and counts, never a word (``client/data/mistakes.py``).
"""

import csv
import hashlib
import io
import re
import stat
import unicodedata
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from client.data.mistakes import MAX_PLACES, Mistake, Place
from privacy.errors import DataError, DataUnavailableError

MAX_TABLE_BYTES: Final = 4 << 30
MAX_FIELD: Final = 16 << 20  # characters: a discharge letter fits; the text after an unclosed quote need not fit
_LINES_ABOVE_HEADER: Final = 20
_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
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
        _require_regular_file(path)
        with path.open("rb", buffering=0) as raw:
            hashed = _Hashed(raw)
            text = io.TextIOWrapper(io.BufferedReader(hashed, 1 << 18), encoding="utf-8-sig", newline="")
            try:
                return _read_columns(_read_lines(text), names, hashed)
            except UnicodeDecodeError:
                raise DataError(f"expected a CSV file in UTF-8, got other bytes{hashed.hint}") from None
    except OSError as cause:
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def simplify_spelling(name: str) -> str:
    """Return a column's name without letter case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


class _Hashed(io.RawIOBase):
    """A file that computes the SHA-256 of what is read from it."""

    def __init__(self, raw: BinaryIO | io.FileIO) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        self._first = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        count: int = self._raw.readinto(buffer) or 0  # type: ignore[union-attr]
        self._hash.update(memoryview(buffer)[:count])
        self._first = self._first or bytes(memoryview(buffer)[: min(count, 8)])
        return count

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    @property
    def hint(self) -> str:
        found = [words for magic, words in _OTHER_FORMATS.items() if self._first.startswith(magic)]
        return f": {found[0]}; export it as CSV UTF-8" if found else "; save it as CSV UTF-8"


def _require_regular_file(path: Path) -> None:
    """Refuse, before it is opened, what has no end or would fill the memory."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
        raise DataError(f"cannot be read: expected a file, got {kind}")
    if status.st_size > MAX_TABLE_BYTES:
        raise DataError(
            f"expected at most {MAX_TABLE_BYTES} bytes, got {status.st_size}; leave out columns or rows"
        )
    if status.st_size == 0:
        raise DataError("is empty; the first line must name the columns")


def _read_lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Yield the lines of ``text``; refuse one that is longer than a field may be."""
    number = 0
    while line := text.readline(MAX_FIELD + 1):
        number += 1
        if len(line) > MAX_FIELD:
            raise DataError(f"line {number} is not CSV: it has more than {MAX_FIELD} characters")
        yield line


class _Rows:
    """The rows of a CSV file, each with the line on which it begins; blank lines are left out."""

    def __init__(self, lines: Iterator[str]) -> None:
        csv.field_size_limit(MAX_FIELD)  # for the whole process; Python's default is 128 KiB
        self._reader = csv.reader(lines, strict=True)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            begin = self._reader.line_num + 1
            try:
                row = next(self._reader)
            except StopIteration:
                return
            except csv.Error as cause:
                raise DataError(self._describe_error(begin, str(cause))) from None
            if row:
                yield begin, row

    def _describe_error(self, begin: int, cause: str) -> str:
        if cause == "unexpected end of data" or "field limit" in cause:
            return f"line {begin} is not CSV: a quote opens in the row that begins there, and is never closed"
        end = self._reader.line_num
        row = "" if end == begin else f", in the row that begins in line {begin}"
        return f"line {end} is not CSV: {cause}{row}"


def _read_columns(lines: Iterator[str], names: Sequence[str], hashed: _Hashed) -> Words:
    first = next(lines, "")
    rows = iter(_Rows(chain([first], lines)))
    try:
        _, header = next(rows, (0, []))
    except DataError:
        if separated := _describe_separator(names, first):
            raise DataError(_describe_absent_columns(names, names, ()) + separated) from None
        raise
    header = [_clean_word(name) for name in header]
    present = [name for name in names if name in header]
    if not present:
        why = (
            _describe_separator(names, first)
            or _describe_late_header(names, rows)
            or "; the first line must name the columns"
        )
        lacking = _describe_absent_columns(names, names, header)
        raise DataError(lacking if "did you mean" in lacking else lacking + why)
    mistakes = []
    if absent := [name for name in names if name not in header]:
        mistakes.append(Mistake(_describe_absent_columns(absent, names, header)))
    if twice := [name for name in names if header.count(name) > 1]:
        mistakes.append(Mistake(f"the header names a column twice: {', '.join(twice)}"))
    places = [header.index(name) for name in present]
    columns: list[list[str]] = [[] for _ in present]
    begins, uneven, unevens = array("q"), 0, list[Place]()
    for line, row in rows:
        if len(row) != len(header):
            uneven += 1
            unevens += [Place(line, f"{len(row)} fields")] if uneven <= MAX_PLACES else []
            continue
        begins.append(line)
        for column, place in zip(columns, places, strict=True):
            column.append(_clean_word(row[place]))
    if uneven:
        mistakes.append(
            Mistake(f"{uneven} rows do not have the header's {len(header)} fields", None, tuple(unevens))
        )
    elif not begins:
        raise DataError("has no rows")
    return Words(dict(zip(present, columns, strict=True)), begins, hashed.sha256, tuple(mistakes))


def _clean_word(text: str) -> str:
    word = text.strip()
    return word if word.isascii() else unicodedata.normalize("NFC", word)


def _describe_absent_columns(absent: Sequence[str], names: Sequence[str], header: Sequence[str]) -> str:
    """Describe which columns are absent, and which of the header's may be meant."""
    near = [
        f"did you mean '{column}' for '{name}'?"
        for name in absent
        for column in header
        if column not in names and simplify_spelling(column) == simplify_spelling(name)
    ]
    return "; ".join([f"lacks {len(absent)} columns of the contract: {', '.join(absent)}", *near])


def _describe_separator(names: Sequence[str], header: str) -> str:
    """Describe what separates the columns of the line ``header``, if not commas."""
    wanted = {simplify_spelling(name) for name in names}
    for separator, words in _SEPARATORS.items():
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
