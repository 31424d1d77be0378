"""Workbooks of Excel 97 to 2003 give the words of a newer one with the same cells; protected ones say what to do."""

import contextlib
import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlwt
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data.adapters.excel import read_excel
from client.data.adapters.rows import RowChunk, Wanted
from privacy.canonical import compute_sha256
from privacy.errors import DataError
from tests.client.data.adapters.chunks import drain

COLUMNS = ("id", "weight", "seen", "ill", "note")
SEEN = datetime.datetime(2024, 3, 1, 14, 30)
ROWS: list[list[Any]] = [
    ["0012", 71.5, datetime.datetime(2024, 3, 1), True, " ä "],
    [7, 80, SEEN, False, None],
    [None, None, None, None, None],
    [1234567890123456, 1, SEEN, True, "x"],
]


def write_old(path: Path, rows: list[list[Any]] = ROWS, zeros: str = "General", sheets: int = 1) -> Path:
    book, date = xlwt.Workbook(encoding="utf-8"), xlwt.easyxf(num_format_str="YYYY-MM-DD HH:MM")
    for number in range(sheets):
        sheet = book.add_sheet(f"S{number}")
        for row, values in enumerate([list(COLUMNS), *rows]):
            for column, value in enumerate(values):
                style = date if isinstance(value, datetime.datetime) else xlwt.easyxf(num_format_str=zeros)
                if value is not None:
                    sheet.write(row, column, value, style)
    book.save(str(path))
    return path


def read(path: Path, **keys: Any) -> tuple[dict[str, list[str]], list[int], list[tuple[str, int, str]]]:
    problems: list[tuple[str, int, str]] = []
    asked = {"sheet": None, "header_row": 1, "decimal": ","} | keys
    wanted = Wanted(COLUMNS, ids=frozenset({"id"}))
    reader = read_excel(
        path, path.name, asked["sheet"], asked["header_row"], wanted, asked["decimal"],
        lambda *each: problems.append(each),
    )  # fmt: skip
    chunks, digest = drain(reader)
    assert digest == compute_sha256(path.read_bytes())
    columns = {name: [word for chunk in chunks for word in chunk.columns[name]] for name in COLUMNS}
    return columns, [place for chunk in chunks for place in chunk.places], problems


def test_old_workbook_gives_the_words_of_a_new_one(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in [list(COLUMNS), *ROWS]:
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    found = read(write_old(tmp_path / "t.xls"))
    assert found == read(tmp_path / "t.xlsx")
    columns, places, problems = found
    assert columns["seen"] == ["2024-03-01", "2024-03-01T14:30:00"]
    assert columns["weight"] == ["71,5", "80"]
    assert (columns["note"], places) == (["ä", ""], [2, 3])
    assert [(row, column) for _, row, column in problems] == [(5, "id")]  # rounded by Excel


def test_numbers_keep_all_their_digits(tmp_path: Path) -> None:
    rows = [[f"p{number}", number / 7, SEEN, False, "n"] for number in range(300)]
    path = write_old(tmp_path / "t.xls", rows)
    columns, _, _ = read(path, decimal=".")
    assert [float(word) for word in columns["weight"]] == [number / 7 for number in range(300)]


def test_identifier_shown_with_leading_zeros_has_them(tmp_path: Path) -> None:
    columns, _, _ = read(write_old(tmp_path / "t.xls", [[12, 1, None, None, None]], zeros="00000"))
    assert columns["id"] == ["00012"]


def test_sheet_is_named_where_there_are_several(tmp_path: Path) -> None:
    path = write_old(tmp_path / "t.xls", sheets=2)
    with pytest.raises(DataError, match="has 2 sheets; name one of them in the mapping: sheet: 'S0', 'S1'"):
        read(path)
    assert read(path, sheet="S1")[1] == [2, 3]


def test_name_of_a_file_does_not_tell_its_form(tmp_path: Path) -> None:
    assert read(write_old(tmp_path / "t.xlsx")) == read(write_old(tmp_path / "t.xls"))


@pytest.mark.parametrize("protection", ["encrypted .xlsx", "encrypted .xls"])
def test_workbook_with_a_password_says_what_to_do(tmp_path: Path, protection: str) -> None:
    """Both are made of a plain one here: by the stream of an encrypted package, and by the record FILEPASS."""
    path = write_old(tmp_path / "t.xls")
    content = path.read_bytes()
    if protection == "encrypted .xlsx":
        content += "EncryptedPackage".encode("utf-16-le")
    else:  # the record after the beginning of the workbook becomes FILEPASS (MS-XLS 2.4.117)
        begin = content.index(b"\x09\x08\x10\x00")
        content = content[: begin + 20] + b"\x2f\x00" + content[begin + 22 :]
    path.write_bytes(content)
    with pytest.raises(DataError, match="is protected by a password; open it in Excel and save a copy without one"):
        read(path)


def test_compound_file_that_is_no_workbook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "letter.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000))
    with pytest.raises(DataError, match=r"no Excel workbook that can be read"):
        read(path)


def test_complaints_of_the_library_are_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_old(tmp_path / "t.xls", [[f"secret-{number}", 1, None, None, None] for number in range(500)])
    for place in range(512, path.stat().st_size, 997):
        content = bytearray(path.read_bytes())
        content[place : place + 4] = b"\xff\xff\xff\xff"
        (tmp_path / "broken.xls").write_bytes(content)
        with contextlib.suppress(DataError):
            read(tmp_path / "broken.xls")
    assert capfd.readouterr() == ("", "")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_mutated_workbook_gives_a_sentence_or_whole_rows(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write_old(tmp_path_factory.mktemp("t") / "t.xls")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    chunks, sentence = list[RowChunk](), f"{path}: "
    wanted = Wanted(COLUMNS, ids=frozenset({"id"}))
    try:
        chunks, _ = drain(read_excel(path, path.name, None, 1, wanted, ".", lambda *_: None))
    except DataError as error:
        sentence = str(error)
    assert sentence.startswith(f"{path}: ")
    assert all(len(chunk) == len(column) for chunk in chunks for column in chunk.columns.values())
