"""Define where a mapping finds its rows, and open them: a text file, a workbook, a Parquet file, a database.

::

    source: {kind: csv, path: export.csv, encoding: cp1252, delimiter: ";", decimal: ","}
    source: {kind: excel, path: export.xlsx, sheet: Patients}
    source: {kind: parquet, path: export.parquet}
    source: {kind: sql, url: "postgresql://reader@db/clinic", password_env: CLINIC_PASSWORD, table: visits}

Rules:

* paths are relative to the mapping file;
* all kinds give the same words for the same data (``client/data/adapters/rows.py``);
* what one row has wrong goes to quarantine, what the whole source has wrong is a mistake; then no more rows come.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from client.data.adapters.rows import ReportRow, RowChunk, Wanted
from client.data.conversion.findings import Findings
from privacy.document import Document
from privacy.errors import DataError, DataUnavailableError, SiteConfigError
from privacy.fields import Column

Encoding = Literal[
    "utf-8", "utf-16", "latin-1", "iso-8859-2", "iso-8859-15", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254",
    "cp437", "cp850",
]  # fmt: skip


def _require_one_sign(delimiter: str) -> str:
    delimiter = "\t" if delimiter == "tab" else delimiter
    if len(delimiter) > 1 or delimiter in "\r\n\"'" or delimiter.isalnum():
        raise ValueError("expected one sign, such as ';', or the word tab")
    return delimiter


Delimiter = Annotated[str, Field(min_length=1, max_length=3), AfterValidator(_require_one_sign)]


class _Source(Document):
    """What every source has.

    Attributes:
        decimal: the decimal mark of its numbers; without it a point, and numbers that may be meant otherwise are
            asked about.
        thousands: the sign between thousands; without it there is none.
    """

    decimal: Literal[".", ","] | None = None
    thousands: Literal[".", ",", "'", " "] | None = None

    @model_validator(mode="after")
    def _different_marks(self) -> Self:
        if self.thousands is not None and self.thousands == self.decimal_mark:
            raise ValueError("decimal and thousands are the same sign; name both")
        return self

    @property
    def decimal_mark(self) -> Literal[".", ","]:
        """The decimal mark, a point if none is named."""
        return self.decimal or "."


class CsvSource(_Source):
    """A text file of separated columns, also TSV; a name that ends with ``.gz`` is decompressed.

    Attributes:
        delimiter: between fields; ``tab`` for a tab. Without it, found if there is one way only.
        quote: around fields; ``none`` if quotes are ordinary characters.
        encoding: without it UTF-8.
        header_line: the line that names the columns.
        names: the columns of a file that has no header.
    """

    kind: Literal["csv"]
    path: Path
    delimiter: Delimiter | None = None
    quote: Literal['"', "'", "none"] = '"'
    encoding: Encoding | None = None
    header_line: int = Field(default=1, ge=1, le=1000)
    names: tuple[Column, ...] | None = None

    @property
    def title(self) -> str:
        """What messages call it."""
        return str(self.path)


class ExcelSource(_Source):
    """A sheet of an Excel workbook (.xlsx).

    Attributes:
        sheet: its name; may be left out if there is one only.
        header_row: the row that names the columns.
    """

    kind: Literal["excel"]
    path: Path
    sheet: str | None = Field(default=None, max_length=31)
    header_row: int = Field(default=1, ge=1, le=1000)

    @property
    def title(self) -> str:
        """What messages call it."""
        return str(self.path)


class ParquetSource(_Source):
    """A Parquet file."""

    kind: Literal["parquet"]
    path: Path

    @property
    def title(self) -> str:
        """What messages call it."""
        return str(self.path)


class SqlSource(_Source):
    """A table, a view or a query of a database.

    Attributes:
        url: ``sqlite:///FILE`` or ``postgresql://USER@HOST:PORT/DATABASE``, without a password.
        password_env: the environment variable that has the password.
        password_file: the file that has it; only its owner may read it.
        table: the name of a table or view, with its schema before a point if need be.
        query: one SELECT, instead of a table.
    """

    kind: Literal["sql"]
    url: str
    password_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    password_file: Path | None = None
    table: str | None = Field(default=None, min_length=1)
    query: str | None = Field(default=None, min_length=1)

    @field_validator("url")
    @classmethod
    def _usable_url(cls, url: str) -> str:
        from client.data.adapters.sql import check_url

        check_url(url)
        return url

    @field_validator("query")
    @classmethod
    def _usable_query(cls, query: str | None) -> str | None:
        from client.data.adapters.sql import check_query

        return None if query is None else check_query(query)

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("name either a table or a query")
        if self.password_env is not None and self.password_file is not None:
            raise ValueError("name either password_env or password_file")
        return self

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.table or "query"


RowSource = Annotated[CsvSource | ExcelSource | ParquetSource | SqlSource, Field(discriminator="kind")]


def open_rows(
    source: CsvSource | ExcelSource | ParquetSource | SqlSource,
    folder: Path,
    columns: Sequence[str],
    findings: Findings,
    *,
    optional: Sequence[str] = (),
    ids: Sequence[str] = (),
) -> Iterator[RowChunk]:
    """Yield the rows of ``source``, some at a time; its digest is recorded when all have come.

    Args:
        source: where they are.
        folder: that of the mapping file.
        columns: the columns that are wanted, as the source names them, in any order; twice is once.
        findings: takes what is wrong. A source that lacks columns or cannot be read as what it should be is a
            mistake, and no more rows come.
        optional: those of ``columns`` that may be absent; then they are in no chunk.
        ids: those of ``columns`` that hold identifiers.

    Raises:
        DataUnavailableError: it cannot be read now.
        SiteConfigError: its password cannot be had.
    """
    wanted = Wanted(tuple(dict.fromkeys(columns)), frozenset(optional), frozenset(ids))
    name = source.title

    def report(reason: str, place: int, column: str) -> None:
        findings.quarantine(f"column '{column}': {reason}" if column else reason, name, place, column)

    rows, done = 0, False
    try:
        reader = _open_reader(source, folder, name, wanted, report)
        while not done:
            try:
                chunk = next(reader)
            except StopIteration as stop:
                findings.record_source(name, stop.value)
                done = True
            else:
                rows += len(chunk)
                findings.report_progress(name, rows)
                yield chunk
    except DataUnavailableError:
        raise
    except DataError as error:
        findings.add_mistake(str(error))


def _open_reader(
    source: CsvSource | ExcelSource | ParquetSource | SqlSource,
    folder: Path,
    name: str,
    wanted: Wanted,
    report: ReportRow,
) -> Generator[RowChunk, None, str]:
    match source:  # imported here: each reads its format with a library of its own
        case CsvSource():
            from client.data.adapters.delimited import Dialect, read_delimited

            quote = None if source.quote == "none" else source.quote
            dialect = Dialect(source.delimiter, quote, source.encoding, source.header_line, source.names)
            return read_delimited(folder / source.path, name, dialect, wanted, report)
        case ExcelSource():
            from client.data.adapters.excel import read_excel

            return read_excel(
                folder / source.path, name, source.sheet, source.header_row, wanted, source.decimal_mark, report
            )
        case ParquetSource():
            from client.data.adapters.parquet import read_parquet

            return read_parquet(folder / source.path, name, wanted, source.decimal_mark, report)
        case SqlSource():
            from client.data.adapters.sql import check_url, read_sql

            statement = source.table or source.query or ""
            password = _read_password(source, folder)
            return read_sql(
                check_url(source.url), folder, name, statement, source.table is not None, password, wanted,
                source.decimal_mark, report,
            )  # fmt: skip


def _read_password(source: SqlSource, folder: Path) -> str | None:
    """Return the password that the source needs, if it names one.

    Raises:
        SiteConfigError: the variable is not set, or the file cannot be read or may be read by others.
    """
    if source.password_env is not None:
        password = os.environ.get(source.password_env)
        if password is None:
            raise SiteConfigError(f"the environment variable {source.password_env} is not set; it has the password")
        return password
    if source.password_file is None:
        return None
    path = folder / source.password_file
    try:
        if path.stat().st_mode & 0o077:
            raise SiteConfigError(f"{path}: others may read this password; chmod 600 {path}")
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except OSError as cause:
        raise SiteConfigError(f"{path}: cannot be read: {cause.strerror}") from None
    except UnicodeDecodeError:
        raise SiteConfigError(f"{path}: expected a password in UTF-8, got other bytes") from None
