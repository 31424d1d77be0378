"""A Parquet file gives the words of its values; columns that give none, and identifiers with a point, are refused."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from client.data.adapters.parquet import read_parquet
from client.data.adapters.rows import RowChunk, Wanted
from privacy.canonical import compute_sha256
from privacy.errors import DataError
from tests.client.data.adapters.chunks import drain


def read(path: Path, columns: tuple[str, ...], *, ids: tuple[str, ...] = ()) -> tuple[list[RowChunk], list[Any]]:
    problems = list[Any]()
    wanted = Wanted(columns, ids=frozenset(ids))
    reader = read_parquet(path, path.name, wanted, ".", lambda *each: problems.append(each))
    chunks, digest = drain(reader)
    assert digest == compute_sha256(path.read_bytes())
    return chunks, problems


def write(folder: Path, **columns: Any) -> Path:
    path = folder / "t.parquet"
    parquet.write_table(pa.table(columns), path, row_group_size=5000)
    return path


def test_file_gives_the_words_of_its_values(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        unused=pa.array([[1], [2]]),
        id=pa.array(["0012", "7"]),
        code=pa.array(["x", None]).dictionary_encode(),
        weight=pa.array([71.5, float("nan")]),
        short=pa.array([0.1, 2.0], pa.float32()),
        price=pa.array([Decimal("12.50"), None]),
        seen=pa.array([datetime.date(2024, 3, 1), None]),
        at=pa.array([datetime.datetime(2024, 3, 1, 14, 30), datetime.datetime(2024, 3, 1)], pa.timestamp("ms")),
        ill=pa.array([True, False]),
    )
    chunks, problems = read(path, ("weight", "id", "code", "short", "price", "seen", "at", "ill"), ids=("id",))
    (chunk,) = chunks
    assert chunk.columns == {
        "id": ["0012", "7"],
        "code": ["x", ""],
        "weight": ["71.5", ""],
        "short": ["0.1", "2"],
        "price": ["12.5", ""],
        "seen": ["2024-03-01", ""],
        "at": ["2024-03-01T14:30:00", "2024-03-01"],
        "ill": ["true", "false"],
    }
    assert (list(chunk.places), problems) == ([1, 2], [])


def test_long_file_comes_in_chunks_in_its_order(tmp_path: Path) -> None:
    chunks, _ = read(write(tmp_path, id=pa.array(range(20_000))), ("id",), ids=("id",))
    assert max(len(chunk) for chunk in chunks) <= 8192
    assert [int(word) for chunk in chunks for word in chunk.columns["id"]] == list(range(20_000))
    assert [place for chunk in chunks for place in chunk.places] == list(range(1, 20_001))


def test_identifiers_that_a_data_frame_made_numbers_with_a_point_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, id=pa.array([12.0, None, 7.0]))
    with pytest.raises(DataError, match="column 'id' holds identifiers as numbers with a point"):
        read(path, ("id",), ids=("id",))


def test_all_columns_that_give_no_words_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, a=pa.array([[1]]), b=pa.array([b"x"]), c=pa.array([datetime.timedelta(1)]))
    with pytest.raises(DataError, match=r"'a' holds list.*'b' holds binary.*'c' holds duration"):
        read(path, ("a", "b", "c"))


def test_column_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks 1 column of the mapping: b"):
        read(write(tmp_path, a=pa.array([1])), ("a", "b"))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_mutated_file_gives_a_sentence_or_whole_rows(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("t"), id=pa.array(["a", "b"] * 20), n=pa.array([1.5, 2.0] * 20))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(0, len(content) - 1)))
        content[place : place + data.draw(st.integers(1, 6))] = data.draw(st.binary(max_size=4))
    path.write_bytes(bytes(content) or b"x")
    chunks, sentence = list[RowChunk](), f"{path}: "
    try:
        chunks, _ = read(path, ("id", "n"), ids=("id",))
    except DataError as error:
        sentence = str(error)
    assert sentence.startswith(f"{path}: ")
    assert all(len(chunk) == len(column) for chunk in chunks for column in chunk.columns.values())
