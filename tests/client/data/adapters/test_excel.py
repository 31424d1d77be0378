"""A sheet of a workbook gives the words of its cells; errors, formulas without a value and rounded numbers are told."""

import datetime
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data.adapters.excel import read_excel
from client.data.adapters.rows import RowChunk, Wanted
from privacy.canonical import compute_sha256
from privacy.errors import DataError
from tests.client.data.adapters.chunks import drain

Problems = list[tuple[str, int, str]]


def read(
    path: Path,
    columns: tuple[str, ...],
    *,
    sheet: str | None = None,
    header_row: int = 1,
    ids: tuple[str, ...] = (),
    decimal: str = ".",
) -> tuple[list[RowChunk], Problems]:
    problems: Problems = []
    wanted = Wanted(columns, ids=frozenset(ids))
    reader = read_excel(path, path.name, sheet, header_row, wanted, decimal, lambda *each: problems.append(each))
    chunks, digest = drain(reader)
    assert digest == compute_sha256(path.read_bytes())
    return chunks, problems


def write(folder: Path, *rows: list[Any], title: str = "Data") -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = title
    for row in rows:
        sheet.append(row)
    path = folder / "t.xlsx"
    book.save(path)
    return path


def test_sheet_gives_the_words_of_its_cells(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        ["id", "weight", "seen", "ill", "note"],
        ["0012", 71.5, datetime.date(2024, 3, 1), True, " x "],
        [],
        [7, 80, datetime.datetime(2024, 3, 1, 14, 30), False, None],
    )
    chunks, problems = read(path, ("id", "weight", "seen", "ill", "note"), ids=("id",), decimal=",")
    (chunk,) = chunks
    assert chunk.columns == {
        "id": ["0012", "7"],
        "weight": ["71,5", "80"],
        "seen": ["2024-03-01", "2024-03-01T14:30:00"],
        "ill": ["true", "false"],
        "note": ["x", ""],
    }
    assert (list(chunk.places), problems) == ([2, 4], [])


def test_identifier_shown_with_leading_zeros_has_them(tmp_path: Path) -> None:
    path = write(tmp_path, ["id"], [12], [7])
    book = openpyxl.load_workbook(path)
    book.active["A2"].number_format = "00000"
    book.save(path)
    chunks, _ = read(path, ("id",), ids=("id",))
    assert chunks[0].columns["id"] == ["00012", "7"]


def test_identifiers_that_lost_what_they_were_leave_out_their_rows(tmp_path: Path) -> None:
    path = write(tmp_path, ["id"], [12.5], [1234567890123456], ["1234567890123456"], [12])
    chunks, problems = read(path, ("id",), ids=("id",))
    assert chunks[0].columns["id"] == ["1234567890123456", "12"]
    assert [(row, column) for _, row, column in sorted(problems, key=lambda each: each[1])] == [
        (2, "id"),
        (3, "id"),
    ]


def test_errors_and_formulas_without_a_value_leave_out_their_rows(tmp_path: Path) -> None:
    path = write(tmp_path, ["id", "n", "other"], ["a", "#N/A", 1], ["b", "=1+1", 1], ["c", 3, "#REF!"])
    chunks, problems = read(path, ("id", "n"))
    assert chunks[0].columns == {"id": ["c"], "n": ["3"]}
    assert problems == [
        ("has an error of Excel", 2, "n"),
        ("has a formula without a value; open the workbook in Excel and save it", 3, "n"),
    ]


def test_formula_with_the_value_that_excel_kept_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, ["id", "n"], ["a", "=1+1"])
    kept = path.with_name("kept.xlsx")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(kept, "w") as new:
        for item in old.namelist():
            new.writestr(
                item,
                old.read(item)
                .replace(b"<f>1+1</f><v></v>", b"<f>1+1</f><v>2</v>")
                .replace(b"<f>1+1</f><v/>", b"<f>1+1</f><v>2</v>")
                .replace(b"<f>1+1</f><v />", b"<f>1+1</f><v>2</v>"),
            )
    chunks, problems = read(kept, ("id", "n"))
    assert (chunks[0].columns["n"], problems) == (["2"], [])


def test_sheet_is_named_where_there_are_several(tmp_path: Path) -> None:
    path = write(tmp_path, ["title"], ["id"], ["a"], title="Patients")
    book = openpyxl.load_workbook(path)
    book.create_sheet("About", 0)
    book.save(path)
    with pytest.raises(
        DataError, match="has 2 sheets; name one of them in the mapping: sheet: 'About', 'Patients'"
    ):
        read(path, ("id",))
    with pytest.raises(DataError, match="has no sheet 'patients'"):
        read(path, ("id",), sheet="patients")
    chunks, _ = read(path, ("id",), sheet="Patients", header_row=2)
    assert chunks[0].columns["id"] == ["a"]


@pytest.mark.parametrize("content", [b"id,age\n1,2\n", b"\xd0\xcf\x11\xe0" + bytes(600), b""])
def test_file_that_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.xlsx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is no Excel workbook|is empty"):
        read(path, ("id",))


def test_column_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks 1 column of the mapping: age; did you mean 'Age' for 'age'"):
        read(write(tmp_path, ["id", "Age"], ["a", 1]), ("id", "age"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutated_workbook_gives_a_sentence_or_whole_rows(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("t")
    path = write(folder, ["id", "n"], ["a", 1.5], ["b", 2])
    with zipfile.ZipFile(path) as archive:
        parts = {item: bytearray(archive.read(item)) for item in archive.namelist()}
    name = data.draw(st.sampled_from(sorted(parts)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(parts[name]) - 1))
        parts[name][place : place + data.draw(st.integers(1, 6))] = data.draw(st.binary(max_size=4))
        parts[name] = parts[name] or bytearray(b"<")
    with zipfile.ZipFile(path, "w") as archive:
        for item, content in parts.items():
            archive.writestr(item, bytes(content))
    chunks, sentence = list[RowChunk](), f"{path}: "
    try:
        chunks, _ = read(path, ("id", "n"), ids=("id",))
    except DataError as error:
        sentence = str(error)
    assert sentence.startswith(f"{path}: ")
    assert all(len(chunk) == len(column) for chunk in chunks for column in chunk.columns.values())


@pytest.mark.parametrize(("row", "fits"), [(1 << 20, True), ((1 << 20) + 1, False), (10**12, False)])
def test_sheet_with_a_row_number_that_excel_has_not_is_refused_at_once(
    tmp_path: Path, row: int, fits: bool
) -> None:
    """Openpyxl makes all rows up to the number of one: a small file would be read for days."""
    path, far = write(tmp_path, ["id"], ["p"]), tmp_path / "far.xlsx"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(far, "w") as target:
        for each in source.infolist():
            data = source.read(each)
            if each.filename.endswith("sheet1.xml"):
                data = data.replace(b'<row r="2"', b'<row r="%d"' % row).replace(b'r="A2"', b'r="A%d"' % row)
            target.writestr(each, data)
    if fits:
        chunks, _ = read(far, ("id",))
        assert [each.places for each in chunks if len(each)] == [[row]]
    else:
        with pytest.raises(DataError, match="has rows beyond 1048576"):
            read(far, ("id",))
