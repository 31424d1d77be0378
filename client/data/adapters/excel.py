"""Read a sheet of an Excel workbook, some rows at a time: .xlsx through openpyxl, .xls through ``excel_97.py``.

Rules:

* the value of a cell counts, not what Excel shows of it: a number keeps all its digits, a date is a date.
  Identifiers that a format such as ``00000`` shows with leading zeros have them, since people know them so;
* the value of a formula is the one that Excel has kept with it. A workbook that another program wrote may have none:
  such a row is left out, not read as missing;
* a row with an error (``#N/A``, ``#REF!``) in a column that is asked for is left out;
* Excel keeps fifteen digits of a number: a longer identifier that is stored as a number has been rounded, and its row
  is left out.
"""

import datetime
import hashlib
import re
import zipfile
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from client.data.adapters.excel_97 import is_compound_file, open_excel_97
from client.data.adapters.hashed_file import require_regular_file
from client.data.adapters.rows import CHUNK_ROWS, ReportRow, RowChunk, Wanted, clean_text, write_rows
from privacy.errors import DataError, DataUnavailableError

MAX_UNPACKED: Final = 4 << 30  # bytes of a workbook without compression
MOST_ROWS: Final = 1 << 20  # of a sheet: Excel has no more
_DIGITS: Final = 15
_ZEROS: Final = re.compile(r"0{2,40}")


def read_excel(
    path: Path, name: str, sheet: str | None, header_row: int, wanted: Wanted, decimal: str, report: ReportRow
) -> Generator[RowChunk, None, str]:
    """Yield the rows of a sheet, and return the SHA-256 of the file's bytes; blank rows are left out.

    Args:
        path: the workbook.
        name: what chunks call it.
        sheet: the name of the sheet; None if there is one only.
        header_row: the row that names the columns, from 1.
        wanted: the columns that are wanted.
        decimal: the decimal mark with which numbers are written.
        report: told of every row that is left out; its place is the row of the sheet.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it is no such file, or lacks the sheet or a column.
    """
    try:
        import openpyxl
    except ImportError:
        raise DataError("Excel is read with openpyxl; install it: pip install 'consilium[tables]'") from None
    try:
        require_regular_file(path)
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        old = is_compound_file(path)
        if not old:
            _require_workbook(path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except OSError as cause:
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None
    try:
        if old:
            kept = _choose_sheet(open_excel_97(path), sheet)
            yield from _read_sheet(kept, kept, name, header_row, wanted, decimal, report)
            return digest
        with path.open("rb") as first, path.open("rb") as second:
            # the second says which cells are formulas
            books = (openpyxl.load_workbook(first, True, data_only=True), openpyxl.load_workbook(second, True))
            values, formulas = (_choose_sheet(book, sheet) for book in books)
            yield from _read_sheet(values, formulas, name, header_row, wanted, decimal, report)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except (GeneratorExit, KeyboardInterrupt):
        raise
    except OSError as cause:
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None
    except Exception as cause:  # openpyxl raises whatever its parts meet in a broken file
        raise DataError(
            f"{path}: is no Excel workbook that can be read ({type(cause).__name__}); save it again as .xlsx"
        ) from None
    return digest


def _require_workbook(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(each.file_size for each in archive.infolist()) > MAX_UNPACKED:
                raise DataError(f"unpacks to more than {MAX_UNPACKED} bytes; export it as CSV")
    except zipfile.BadZipFile:
        raise DataError("is no Excel workbook; save it as .xlsx in Excel") from None


def _choose_sheet(book: Any, sheet: str | None) -> Any:
    names = [each.title for each in book.worksheets]
    if sheet is None and len(names) == 1:
        return book.worksheets[0]
    listed = ", ".join(f"'{each}'" for each in names)
    if sheet is None:
        raise DataError(f"has {len(names)} sheets; name one of them in the mapping: sheet: {listed}")
    if sheet not in names:
        raise DataError(f"has no sheet '{sheet}'; it has {listed}")
    return book.worksheets[names.index(sheet)]


def _read_sheet(
    values: Any, formulas: Any, name: str, header_row: int, wanted: Wanted, decimal: str, report: ReportRow
) -> Iterator[RowChunk]:
    values.reset_dimensions()  # what other programs write there is often wrong
    formulas.reset_dimensions()
    of = {"min_row": header_row, "max_row": MOST_ROWS + 1}  # openpyxl makes all rows up to the number of one
    pairs = zip(values.iter_rows(**of), formulas.iter_rows(**of), strict=True)
    header = [clean_text(str(cell.value)) if cell.value is not None else "" for cell in next(pairs, ((), ()))[0]]
    present = wanted.list_present(header)
    places = [header.index(each) for each in present]
    numbered = enumerate(pairs, header_row + 1)
    while block := list(islice(numbered, CHUNK_ROWS)):
        rows, kept = list[Sequence[Any]](), list[int]()
        for number, (cells, written) in block:
            if number > MOST_ROWS:
                raise DataError(
                    f"has rows beyond {MOST_ROWS}, which a sheet of Excel has not; save it again as .xlsx"
                )
            if all(cell.value is None for cell in cells):
                continue
            taken = [
                _take(cells, written, place, each in wanted.ids)
                for place, each in zip(places, present, strict=True)
            ]
            problem = next((index for index, value in enumerate(taken) if isinstance(value, _Problem)), None)
            if problem is not None:
                report(str(taken[problem]), number, present[problem])
                continue
            rows.append(taken)
            kept.append(number)
        words, kept = write_rows(rows, kept, present, wanted, decimal, report)
        yield RowChunk(name, words, kept)


class _Problem(str):
    """Why a cell cannot be used."""


def _take(cells: Sequence[Any], written: Sequence[Any], place: int, is_id: bool) -> Any:
    """Return the value of a cell, or a :class:`_Problem`."""
    if place >= len(cells):
        return None
    cell = cells[place]
    value = cell.value
    if cell.data_type == "e" and value is not None:
        return _Problem("has an error of Excel")
    if value is None and written[place].value is not None:
        return _Problem("has a formula without a value; open the workbook in Excel and save it")
    if isinstance(value, datetime.timedelta):
        return _Problem("has a duration; write it as a number")
    if is_id and isinstance(value, int) and not isinstance(value, bool):
        if len(str(abs(value))) > _DIGITS:
            return _Problem("is an identifier of more than 15 digits stored as a number, which Excel rounds")
        if _ZEROS.fullmatch(cell.number_format or ""):
            return str(value).zfill(len(cell.number_format))
    return value
