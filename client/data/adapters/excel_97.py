"""Open a workbook of Excel 97 to 2003 (.xls) through xlrd, in the form in which openpyxl gives a newer one.

Rules:

* the format keeps no more than 65,536 rows and 256 columns a sheet, so that a sheet fits into memory;
* a number without a fraction is a whole number, a number whose format is one of dates is a date;
* the value of a formula is the one that is kept with it. The format always keeps one, so a program that computes none
  leaves a 0 which cannot be told from a value.

Source: Microsoft, [MS-XLS], Excel Binary File Format.
"""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from privacy.errors import DataError

MAX_BYTES: Final = 512 << 20
_COMPOUND: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # the first bytes of a compound file
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")  # the stream that holds an encrypted newer workbook


@dataclass(frozen=True)
class Cell:
    """A cell as openpyxl has it: ``e`` is the type of an error."""

    value: Any
    data_type: str
    number_format: str


class Sheet:
    """A sheet as openpyxl has it, as far as it is read."""

    def __init__(self, sheet: Any, book: Any) -> None:
        self.title: str = sheet.name
        self._sheet, self._book = sheet, book

    def reset_dimensions(self) -> None:
        """Do nothing: the dimensions are those of the cells."""

    def iter_rows(self, min_row: int, max_row: int) -> Iterator[Sequence[Cell]]:
        """Yield rows from ``min_row`` to ``max_row``, counted from 1."""
        for row in range(min_row - 1, min(max_row, self._sheet.nrows)):
            yield [self._make_cell(cell) for cell in self._sheet.row(row)]

    def _make_cell(self, cell: Any) -> Cell:
        import xlrd

        form = self._book.format_map[self._book.xf_list[cell.xf_index].format_key].format_str
        match cell.ctype:
            case xlrd.XL_CELL_EMPTY | xlrd.XL_CELL_BLANK:
                return Cell(None, "n", form)
            case xlrd.XL_CELL_ERROR:
                return Cell(xlrd.error_text_from_code.get(cell.value, "#ERROR"), "e", form)
            case xlrd.XL_CELL_BOOLEAN:
                return Cell(bool(cell.value), "b", form)
            case xlrd.XL_CELL_NUMBER:
                return Cell(int(cell.value) if cell.value.is_integer() else cell.value, "n", form)
            case xlrd.XL_CELL_DATE:
                return Cell(_read_date(cell.value, self._book.datemode), "d", form)
            case _:
                return Cell(cell.value, "s", form)


@dataclass(frozen=True)
class Book:
    """A workbook as openpyxl has it."""

    worksheets: Sequence[Sheet]


def is_compound_file(path: Path) -> bool:
    """Return whether a file is a compound file: an old workbook, or an encrypted one.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(len(_COMPOUND)) == _COMPOUND


def open_excel_97(path: Path) -> Book:
    """Open a compound file.

    Raises:
        DataError: it is no old workbook, is encrypted, or cannot be read.
        OSError: the file cannot be read now.
    """
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"has more than {MAX_BYTES} bytes; save it as .xlsx")
    data = path.read_bytes()
    if _ENCRYPTED in data:
        raise _describe_password()
    try:
        import xlrd
        from xlrd.compdoc import CompDocError
    except ImportError:
        raise DataError(
            "an .xls workbook is read with xlrd; install it: pip install 'consilium[tables]', or save it as .xlsx"
        ) from None
    try:
        with open("/dev/null", "w", encoding="utf-8") as nowhere:  # what the library complains of would be printed
            book = xlrd.open_workbook(file_contents=data, formatting_info=True, logfile=nowhere)
    except (xlrd.XLRDError, CompDocError) as cause:
        if "encrypted" in str(cause):
            raise _describe_password() from None
        raise DataError(
            "is a compound file, but no Excel workbook that can be read; save it again as .xlsx"
        ) from None
    return Book([Sheet(each, book) for each in book.sheets()])


def _describe_password() -> DataError:
    return DataError(
        "is protected by a password; open it in Excel and save a copy without one (File, Info, Protect Workbook), in a "
        "folder that only its owner may read"
    )


def _read_date(value: float, mode: int) -> Any:
    """Read a day count; a part of the first day is a time without a date."""
    import xlrd

    if 0 <= value < 1:
        return datetime.timedelta(days=value)
    return xlrd.xldate_as_datetime(value, mode)
