"""Read a text file of separated columns in any dialect, some rows at a time, with the line of each row.

The dialect is named, not guessed. What is not named is found only where there is no doubt:

* **encoding**: UTF-8, with a byte order mark or without. UTF-16 has a mark, which is named in the message; Windows
  and Latin encodings cannot be told from each other. A file that is UTF-8 is refused if another encoding is named,
  since its letters would become others;
* **delimiter**: the only one of comma, semicolon, tab and vertical bar with which the header has all columns;
* **quote**: the double quote. A quote inside a field is doubled;
* a file whose name ends with ``.gz`` is decompressed.

Memory does not grow with the file. Rows that do not have the header's number of fields are reported and left out.
"""

import codecs
import contextlib
import csv
import gzip
import io
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, Final

from client.data.adapters.hashed_file import HashedFile, require_regular_file
from client.data.adapters.rows import CHUNK_ROWS, ReportRow, RowChunk, Wanted, clean_text, describe_absent_columns
from privacy.errors import DataError, DataUnavailableError

MAX_FIELD: Final = 16 << 20  # characters: a discharge letter fits; the text after an unclosed quote need not fit
_CHUNK_CHARACTERS: Final = 16 << 20  # of the fields that are taken: a chunk of long letters has fewer rows
EMPTY: Final = "the first line must name the columns"
DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_IS_UTF8: Final = (
    "its bytes are UTF-8, and the mapping names another encoding, with which its letters would become others; write "
    "encoding: utf-8"
)
_CONTROLS: Final = bytes(range(0x80, 0xA0))  # nobody writes them; in cp1252 they are dashes, quotes, the euro sign
_MARKS: Final = {
    codecs.BOM_UTF16_LE: "it looks like UTF-16; write encoding: utf-16",
    codecs.BOM_UTF16_BE: "it looks like UTF-16; write encoding: utf-16",
    b"PK\x03\x04": "it looks like an Excel workbook or a ZIP archive; write kind: excel",
    b"\x1f\x8b": "it looks like a gzip archive; let its name end with .gz",
    b"PAR1": "it looks like a Parquet file; write kind: parquet",
}


@dataclass(frozen=True)
class Dialect:
    """How a text file writes a table.

    Attributes:
        delimiter: one character between fields; None to find it.
        quote: the character around a field that holds delimiters or line ends; None if quotes are ordinary.
        encoding: Python's name of it; None for UTF-8.
        header_line: the line that names the columns, from 1; lines above it are skipped.
        names: the names of the columns of a file without a header; ``header_line`` does not count then.
    """

    delimiter: str | None = None
    quote: str | None = '"'
    encoding: str | None = None
    header_line: int = 1
    names: tuple[str, ...] | None = None


def read_delimited(
    path: Path, name: str, dialect: Dialect, wanted: Wanted, report: ReportRow
) -> Generator[RowChunk, None, str]:
    """Yield the rows of the file ``path``, and return the SHA-256 of its bytes.

    Args:
        path: the file.
        name: what chunks call it.
        dialect: how it is written.
        wanted: the columns that are wanted.
        report: told of every row that is left out.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it is no such file, or lacks a column.
    """
    try:
        require_regular_file(path, if_empty=EMPTY)
        with path.open("rb", buffering=0) as raw:
            hashed = HashedFile(raw)
            source = io.BufferedReader(hashed, 1 << 18)
            opened: BinaryIO = gzip.GzipFile(fileobj=source) if path.suffix == ".gz" else source  # type: ignore[assignment]
            text = _open_text(opened, dialect)
            try:
                yield from _read_chunks(read_lines(text), name, dialect, wanted, report)
            except UnicodeError:
                raise DataError(_describe_encoding(hashed, dialect)) from None
            while hashed.read(1 << 20):  # what follows the end of a compressed file
                pass
            return hashed.sha256
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise DataError(f"{path}: is no complete gzip file; copy it again") from None
    except OSError as cause:
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def read_lines(text: io.TextIOBase) -> Iterator[str]:
    """Yield the lines of ``text``.

    Raises:
        DataError: one is longer than a field may be.
    """
    number = 0
    while line := text.readline(MAX_FIELD + 1):
        number += 1
        if len(line) > MAX_FIELD:
            raise DataError(f"line {number} is not CSV: it has more than {MAX_FIELD} characters")
        yield line


class DelimitedRows:
    """The rows of a text file, each with the line on which it begins; blank lines are left out."""

    def __init__(
        self, lines: Iterator[str], delimiter: str = ",", quote: str | None = '"', skipped: int = 0
    ) -> None:
        """Begin with ``lines``, before which ``skipped`` were read."""
        csv.field_size_limit(MAX_FIELD)  # for the whole process; Python's default is 128 KiB
        self._skipped = skipped
        self._reader = _open_reader(lines, delimiter, quote)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line and fields of each row.

        Raises:
            DataError: a row is not CSV.
        """
        while True:
            begin = self._skipped + self._reader.line_num + 1
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
        end = self._skipped + self._reader.line_num
        row = "" if end == begin else f", in the row that begins in line {begin}"
        return f"line {end} is not CSV: {cause}{row}"


def _open_reader(lines: Iterable[str], delimiter: str, quote: str | None) -> Any:
    if quote is None:
        return csv.reader(lines, strict=True, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, strict=True, delimiter=delimiter, quotechar=quote)


class _EncodingWatch(io.RawIOBase):
    """A file that notices whether its bytes are of another encoding than the one that is named."""

    def __init__(self, raw: BinaryIO, encoding: str) -> None:
        self._raw = raw
        self._unprinted = _CONTROLS if encoding in ("latin-1", "iso-8859-15") else b""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._possible = True
        self._beyond_ascii = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        block = self._raw.read(len(buffer))
        buffer[: len(block)] = block
        if self._unprinted and len(block.translate(None, self._unprinted)) < len(block):
            raise DataError(
                "has bytes that are no letters in the encoding that the mapping names; for Windows write cp1252"
            )
        if self._possible:
            try:
                self._beyond_ascii = (
                    not self._decoder.decode(block, final=not block).isascii() or self._beyond_ascii
                )
            except UnicodeDecodeError:
                self._possible = False
        if not block and self._possible and self._beyond_ascii:
            raise DataError(_IS_UTF8)
        return len(block)


def _open_text(opened: BinaryIO, dialect: Dialect) -> io.TextIOWrapper:
    encoding = "utf-8-sig" if dialect.encoding in (None, "utf-8") else dialect.encoding
    if encoding not in ("utf-8-sig", "utf-16"):
        opened = io.BufferedReader(_EncodingWatch(opened, encoding), 1 << 18)
    return io.TextIOWrapper(opened, encoding=encoding, newline="")


def _describe_encoding(hashed: HashedFile, dialect: Dialect) -> str:
    expected = "UTF-8" if dialect.encoding is None else dialect.encoding
    found = [words for magic, words in _MARKS.items() if hashed.first.startswith(magic)]
    if found:
        return f"expected a text file in {expected}, got other bytes: {found[0]}"
    write = "write its encoding in the mapping, such as encoding: cp1252 (Windows) or latin-1"
    return f"expected a text file in {expected}, got other bytes; {write}"


def _read_chunks(
    lines: Iterator[str], name: str, dialect: Dialect, wanted: Wanted, report: ReportRow
) -> Iterator[RowChunk]:
    skipped = 0 if dialect.names else dialect.header_line - 1
    for _ in range(skipped):
        next(lines, "")
    rows: Iterator[tuple[int, list[str]]]
    if dialect.names is not None:
        if dialect.delimiter is None:
            raise DataError("has no header by which the delimiter can be found; write it in the mapping: delimiter")
        header = list(dialect.names)
        rows = iter(DelimitedRows(lines, dialect.delimiter, dialect.quote))
    else:
        first = next(lines, "")
        _require_encoding(first, dialect)
        delimiter = dialect.delimiter or _find_delimiter(first, dialect, wanted)
        rows = iter(DelimitedRows(chain([first], lines), delimiter, dialect.quote, skipped))
        _, header = next(rows, (0, []))
        header = [clean_text(each) for each in header]
    try:
        present = wanted.list_present(header)
    except DataError as error:
        raise DataError(f"{error}{_describe_late_header(rows, wanted)}") from None
    yield from _group_rows(rows, name, header, present, report)


def _require_encoding(header: str, dialect: Dialect) -> None:
    """Refuse a header that is UTF-8 though another encoding is named; of the rest, the reading itself tells.

    Raises:
        DataError: it is.
    """
    if dialect.encoding in (None, "utf-8", "utf-16") or header.isascii():
        return
    with contextlib.suppress(UnicodeDecodeError):
        header.encode(str(dialect.encoding)).decode("utf-8")
        raise DataError(_IS_UTF8)


def _group_rows(
    rows: Iterator[tuple[int, list[str]]],
    name: str,
    header: Sequence[str],
    present: Sequence[str],
    report: ReportRow,
) -> Iterator[RowChunk]:
    width = len(header)
    places = [header.index(each) for each in present]
    take = itemgetter(*places) if len(places) > 1 else lambda row: tuple(row[place] for place in places)
    begins, taken, characters = list[int](), list[Sequence[str]](), 0
    uneven = f"does not have the {width} fields of the header"
    for line, row in rows:
        if len(row) != width:
            report(uneven, line, "")
            continue
        words = take(row)
        begins.append(line)
        taken.append(words)
        characters += sum(map(len, words))
        if len(begins) == CHUNK_ROWS or characters >= _CHUNK_CHARACTERS:
            yield _make_chunk(name, present, taken, begins)
            begins, taken, characters = [], [], 0
    if begins:
        yield _make_chunk(name, present, taken, begins)


def _make_chunk(name: str, present: Sequence[str], taken: Sequence[Sequence[str]], begins: list[int]) -> RowChunk:
    columns = zip(*taken, strict=True)
    return RowChunk(
        name, {each: list(map(clean_text, column)) for each, column in zip(present, columns, strict=True)}, begins
    )


def _find_delimiter(first: str, dialect: Dialect, wanted: Wanted) -> str:
    """Return the only delimiter with which the line ``first`` names all columns."""
    needed = set(wanted.columns) - wanted.optional
    headers = dict[str, list[str]]()
    for delimiter in DELIMITERS:
        try:
            row: list[str] = next(_open_reader([first], delimiter, dialect.quote), [])
        except csv.Error:
            continue
        headers[delimiter] = [clean_text(each) for each in row]
    fitting = [each for each, header in headers.items() if needed <= set(header)]
    several = {tuple(headers[each]) for each in fitting}
    if len(several) == 1:
        return fitting[0]
    if fitting:
        raise DataError(
            "its columns can be separated in more than one way; write the delimiter in the mapping: delimiter"
        )
    most = max(headers, key=lambda each: len(headers[each]), default=",")
    raise DataError(
        describe_absent_columns(
            [each for each in wanted.columns if each in needed and each not in headers.get(most, ())],
            wanted.columns,
            headers.get(most, ()),
        )
        + "; the header must name the columns as the mapping does (header_line says in which line it is)"
    )


def _describe_late_header(rows: Iterator[tuple[int, list[str]]], wanted: Wanted) -> str:
    """Describe which of the next lines names the columns, if one does."""
    needed = set(wanted.columns) - wanted.optional
    try:
        for line, row in rows:
            if line > 40:
                break
            if needed and needed <= {clean_text(each) for each in row}:
                return f"; line {line} names them: write header_line: {line}"
    except DataError:
        pass
    return ""
