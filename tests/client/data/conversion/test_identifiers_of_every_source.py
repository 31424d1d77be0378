"""One normal form of identifiers: whichever way a table comes in, a patient has one name, and who objects is known.

The ways are a CSV file that keeps the contract, and a mapping of a CSV file, a workbook, a Parquet file and a database.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.small_study import small_terms
from client.data.conversion.kept_snapshots import make_snapshot
from client.data.conversion.report import ConversionError
from client.data.identifiers import is_usable, normalise
from client.data.site_data import read_contents
from client.site.folder import SiteFolder
from tests.client.data.conversion.small_source import write_mapping

CONTRACT = small_terms().data
WRITTEN = [
    "00012", "12", "12.0", " 13 ", "M\u00fcller-7", "Mu\u0308ller-8", "\uff10\uff17", "A\u00a0B", "a b", "P\u20130012",
    "\ufeff99", "x\u200by",
]  # fmt: skip


def write_csv_file(folder: Path, ids: list[str]) -> dict[str, str]:
    rows = [f'"{each}",40,f,yes' for each in ids]
    (folder / "t.csv").write_text("\n".join(["id,age,sex,ill", *rows]) + "\n", encoding="utf-8")
    return {"kind": "csv", "path": "t.csv"}


def write_workbook(folder: Path, ids: list[str]) -> dict[str, str]:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["id", "age", "sex", "ill"], *([each, 40, "f", "yes"] for each in ids)):
        sheet.append(row)
    for cell in sheet["A"]:
        cell.number_format = "@"
    book.save(folder / "t.xlsx")
    return {"kind": "excel", "path": "t.xlsx"}


def write_parquet(folder: Path, ids: list[str]) -> dict[str, str]:
    columns = {"id": ids, "age": [40] * len(ids), "sex": ["f"] * len(ids), "ill": ["yes"] * len(ids)}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "t.parquet")
    return {"kind": "parquet", "path": "t.parquet"}


def write_database(folder: Path, ids: list[str]) -> dict[str, str]:
    with closing(sqlite3.connect(folder / "t.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE t (id TEXT, age REAL, sex TEXT, ill TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, 40, 'f', 'yes')", [(each,) for each in ids])
    return {"kind": "sql", "url": "sqlite:///t.sqlite", "table": "t"}


WAYS = {"csv": write_csv_file, "excel": write_workbook, "parquet": write_parquet, "sql": write_database}


def read_mapped(folder: Path, write: Callable[[Path, list[str]], dict[str, str]], ids: list[str]) -> list[str]:
    """The patients of a snapshot of ``ids``, in the order of the source."""
    mapping = write_mapping(folder, source=write(folder, ids))
    snapshot = make_snapshot(CONTRACT, mapping, folder / "data", 0.0)
    order = {normalise(each): place for place, each in enumerate(ids)}
    found = [name for file in (snapshot.train, snapshot.test) if np.load(file).files for name in read_names(file)]
    return sorted(found, key=lambda name: order[name])


def read_names(file: Path) -> list[str]:
    """The patients of a snapshot's file, by numpy."""
    with np.load(file) as arrays:
        return [each.decode("utf-8") for each in arrays["id"].tolist()]


@pytest.mark.parametrize("way", WAYS)
def test_patient_has_the_same_name_from_every_source(tmp_path: Path, way: str) -> None:
    names = [normalise(each) for each in WRITTEN]
    assert read_mapped(tmp_path, WAYS[way], WRITTEN) == names
    write_csv_file(tmp_path, WRITTEN)
    assert list(read_contents(CONTRACT, tmp_path / "t.csv").ids) == names
    assert names[:3] == ["00012", "12", "12.0"]  # zeros are kept: who is alike is asked at registration


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("nobody", ["", "  ", "\u200b", "?"])
def test_row_that_names_nobody_is_left_out_of_every_source(tmp_path: Path, way: str, nobody: str) -> None:
    mapping = write_mapping(tmp_path, source=WAYS[way](tmp_path, ["a", nobody, "b"]))
    with pytest.raises(ConversionError, match=r"1 of 3 items \(33\.33%\) cannot be used") as caught:
        make_snapshot(CONTRACT, mapping, tmp_path / "data", 0.0)
    (left_out,) = caught.value.report.quarantined
    assert left_out.count == 1


def test_identifier_that_a_data_frame_has_made_a_number_with_a_point_is_no_identifier(tmp_path: Path) -> None:
    columns = {"id": [12.0, 13.0], "age": [40, 40], "sex": ["f", "f"], "ill": ["yes", "no"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    mapping = write_mapping(tmp_path, source={"kind": "parquet", "path": "t.parquet"})
    with pytest.raises(ConversionError, match="identifiers as numbers with a point"):
        make_snapshot(CONTRACT, mapping, tmp_path / "data", 1.0)


def test_objection_reaches_every_way_in_which_an_identifier_is_written(tmp_path: Path) -> None:
    home = SiteFolder.create(tmp_path / "ash", "ash")
    home.open_patient_register().add_objections(["00012", "M\u00fcller-8"], "2026-03-31")
    objections = home.open_patient_register().load_objections()
    names = read_mapped(tmp_path, write_csv_file, WRITTEN)
    assert [name for name in names if objections.includes(name)] == ["00012", "12", "12.0", "M\u00fcller-8"]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters='"\r\n\x00'), max_size=12), min_size=1, max_size=6
    )
)
def test_any_text_is_the_same_patient_in_a_mapped_and_in_a_plain_file(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    kept = [each for each in ids if is_usable(normalise(each)) and normalise(each) != "?"]
    write_csv_file(folder, ids)
    plain = list(read_contents(CONTRACT, folder / "t.csv").ids)
    mapping = write_mapping(folder, source={"kind": "csv", "path": "t.csv"})
    if not kept:
        return
    snapshot = make_snapshot(CONTRACT, mapping, folder / "data", 1.0)
    mapped = sorted([*read_names(snapshot.train), *read_names(snapshot.test)])
    assert (
        mapped == sorted(name for name in plain if is_usable(name) and name != "?") == sorted(map(normalise, kept))
    )
