"""Text files in any dialect become words with their lines; what cannot be told without guessing is asked."""

import csv
import gzip
import io
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data.adapters.delimited import Dialect, read_delimited
from client.data.adapters.rows import RowChunk, Wanted
from privacy.canonical import compute_sha256
from privacy.errors import DataError, DataUnavailableError
from tests.client.data.adapters.chunks import drain

NAMES = ("id", "größe")
TABLE = 'id;größe;Bemerkung\r\n007;1,83;"nach; Übung"\r\n8;1,70;\r\n'


def read(
    path: Path, columns: tuple[str, ...] = NAMES, **dialect: Any
) -> tuple[list[RowChunk], str, list[tuple[str, int, str]]]:
    problems = list[tuple[str, int, str]]()
    reader = read_delimited(
        path, path.name, Dialect(**dialect), Wanted(columns), lambda *problem: problems.append(problem)
    )
    return *drain(reader), problems


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def find_data(repository: Path, name: str) -> Path:
    path = repository.parent / "shared" / "data" / "adapters" / "tables" / name
    if not path.is_file():
        pytest.skip(f"shared/data/adapters/tables/{name} is not here")
    return path


@pytest.mark.parametrize(
    ("content", "dialect"),
    [
        (TABLE.encode(), {}),
        (TABLE.encode("utf-8-sig"), {}),
        (TABLE.encode("cp1252"), {"encoding": "cp1252"}),
        (TABLE.encode("latin-1"), {"encoding": "latin-1"}),
        (TABLE.encode("utf-16"), {"encoding": "utf-16"}),
        (TABLE.replace(";", "\t").replace("nach\t", "nach;").encode(), {}),
        (TABLE.replace(";", "|").encode(), {"delimiter": "|"}),
        (TABLE.replace('"', "'").encode(), {"quote": "'", "delimiter": ";"}),
        (("Klinik\r\n\r\n" + TABLE).encode(), {"header_line": 3}),
        (TABLE.split("\r\n", 1)[1].encode(), {"names": ("id", "größe", "x"), "delimiter": ";"}),
        (TABLE.replace("größe", "gro\u0308ße").encode(), {}),
        (TABLE.replace("\r\n", "\r").encode(), {}),
    ],
    ids=[
        "utf-8",
        "mark",
        "cp1252",
        "latin-1",
        "utf-16",
        "tabs",
        "bars",
        "quotes",
        "title",
        "no header",
        "nfd",
        "cr",
    ],
)
def test_file_in_any_dialect_gives_the_same_words(tmp_path: Path, content: bytes, dialect: dict[str, Any]) -> None:
    path = written(tmp_path, content)
    chunks, sha256, problems = read(path, **dialect)
    (chunk,) = chunks
    assert chunk.columns == {"id": ["007", "8"], "größe": ["1,83", "1,70"]}
    first = dialect.get("header_line", 0 if "names" in dialect else 1) + 1
    assert list(chunk.places) == [first, first + 1]
    assert (sha256, problems) == (compute_sha256(content), [])


def test_compressed_file_is_read_and_its_own_bytes_are_digested(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(TABLE.encode()) + gzip.compress(b"9;2,00;\r\n"), "t.csv.gz")
    chunks, sha256, _ = read(path)
    assert chunks[0].columns["id"] == ["007", "8", "9"]
    assert sha256 == compute_sha256(path.read_bytes())


def test_long_file_comes_in_chunks_with_the_lines_of_all_rows(tmp_path: Path) -> None:
    path = written(tmp_path, "id,größe\n" + "".join(f'{row},"{row}\n"\n' for row in range(20_000)))
    chunks, _, _ = read(path)
    assert [len(chunk) for chunk in chunks] == [8192, 8192, 3616]
    assert [place for chunk in chunks for place in chunk.places] == [2 + 2 * row for row in range(20_000)]
    assert [word for chunk in chunks for word in chunk.columns["größe"]] == [str(row) for row in range(20_000)]


def test_rows_of_long_fields_come_in_chunks_of_few(tmp_path: Path) -> None:
    """Eight thousand letters of a megabyte each would be a chunk of eight gigabytes."""
    path = written(tmp_path, "id,größe\n" + f"1,{'a' * (1 << 20)}\n" * 40)
    assert [len(chunk) for chunk in read(path)[0]] == [16, 16, 8]


def test_rows_of_another_length_are_reported_by_line_and_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, "id,größe\n1,2\n3\n4,5,6\n7,8\n")
    chunks, _, problems = read(path)
    assert chunks[0].columns["id"] == ["1", "7"]
    reason = "does not have the 2 fields of the header"
    assert problems == [(reason, 3, ""), (reason, 4, "")]


@pytest.mark.parametrize(
    ("content", "dialect", "sentence"),
    [
        (TABLE.encode("cp1252"), {}, r"in UTF-8, got other bytes; write its encoding .* encoding: cp1252"),
        (TABLE.encode("utf-16"), {}, "it looks like UTF-16; write encoding: utf-16"),
        (TABLE.encode(), {"encoding": "cp1252"}, "its bytes are UTF-8, and the mapping names another encoding"),
        ("id;größe\n1;–\n".encode("cp1252"), {"encoding": "latin-1"}, "for Windows write cp1252"),
        (TABLE.encode("utf-16-le"), {"encoding": "utf-16"}, "expected a text file in utf-16"),
        (b"PK\x03\x04\xff\xff", {}, "write kind: excel"),
        (b"PAR1\xff\xff", {}, "write kind: parquet"),
        (gzip.compress(TABLE.encode(), mtime=0), {}, "let its name end with .gz"),
        ("id:größe\n1:2\n", {}, "lacks 2 columns of the mapping: id, größe"),
        ("id;GRÖßE\n1;2\n", {}, "did you mean 'GRÖßE' for 'größe'"),
        ("Klinik;\nid;größe\n1;2\n", {"delimiter": ";"}, "line 2 names them: write header_line: 2"),
        ("id;größe;id\n1;2;3\n", {}, "the header names a column twice: id"),
        ('id;größe\n1;"2\n', {}, "line 2 is not CSV: a quote opens in the row that begins there"),
        ('id;größe\n1;"2"x\n', {}, "line 2 is not CSV"),
        ("", {}, "is empty"),
        ("1;2\n", {"names": ("id", "größe")}, "write it in the mapping: delimiter"),
    ],
)
def test_file_that_is_not_as_said_is_refused_with_what_to_write(
    tmp_path: Path, content: str | bytes, dialect: dict[str, Any], sentence: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=sentence) as caught:
        read(path, **dialect)
    assert str(caught.value).startswith(f"{path}: ")


def test_delimiter_that_several_signs_could_be_is_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="write the delimiter in the mapping"):
        read(written(tmp_path, "id,x;id\n1,2;3\n"), ("id",))
    chunks, _, _ = read(tmp_path / "t.csv", ("id",), delimiter=",")
    assert chunks[0].columns == {"id": ["1"]}


def test_truncated_compressed_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(TABLE.encode() * 1000)[:-20], "t.csv.gz")
    with pytest.raises(DataError, match="is no complete gzip file"):
        read(path)


@pytest.mark.parametrize("kind", ["absent", "folder", "fifo"])
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "t.csv"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(DataError if kind != "absent" else DataUnavailableError, match="cannot be read"):
        read(path)


def test_real_export_in_latin_1_with_decimal_commas_is_read(repository: Path) -> None:
    path = find_data(repository, "semicolon_latin1.csv")
    chunks, _, problems = read(path, ("Nº", "età", "lvmi (g/m²)"), encoding="latin-1")
    rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("latin-1")), delimiter=";"))
    assert chunks[0].columns["lvmi (g/m²)"] == [row["lvmi (g/m²)"] for row in rows]
    assert (len(rows), problems) == (150, [])


def test_real_export_with_a_mark_and_tabs_needs_nothing_named(repository: Path) -> None:
    chunks, _, _ = read(find_data(repository, "bom_tab.csv"), ("Nº", "hs"))
    assert len(chunks[0]) == 40
    assert chunks[0].columns["Nº"][:4] == ["1", "1", "1", "2"]


def test_real_ragged_export_is_refused_with_the_line(repository: Path) -> None:
    with pytest.raises(DataError, match="line 13 is not CSV: a quote opens"):
        read(find_data(repository, "ragged.csv"), ("Nº", "età"))


_SPLINTERS = [b'"', b";", b"\n", b"\x00", b"\xff", b"\xef\xbb\xbf"]
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), max_size=8)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=20),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-16"]),
)
def test_what_the_standard_library_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str, encoding: str
) -> None:
    path = tmp_path_factory.mktemp("t") / "t.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    chunks, _, problems = read(path, ("a", "b"), encoding=encoding)
    found = [pair for chunk in chunks for pair in zip(chunk.columns["a"], chunk.columns["b"], strict=True)]
    assert found == [tuple(unicodedata.normalize("NFC", word.strip()) for word in row) for row in rows]
    assert problems == []


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_file_gives_a_sentence_or_rows_of_the_header(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(TABLE.encode() * 3)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["change", "remove", "cut", "insert"])):
            case "change":
                content[place] = data.draw(st.integers(0, 255))
            case "remove":
                del content[place : place + data.draw(st.integers(1, 5))]
            case "cut":
                del content[place + 1 :]
            case _:
                content[place:place] = data.draw(st.sampled_from(_SPLINTERS))
        content = content or bytearray(b"x")
    path = written(tmp_path_factory.mktemp("t"), bytes(content))
    encoding = data.draw(st.sampled_from([None, "cp1252", "utf-16", "latin-1"]))
    chunks, sentence = list[RowChunk](), f"{path}: "
    try:
        chunks, _, _ = read(path, encoding=encoding)
    except DataError as error:
        sentence = str(error)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    if chunks:
        assert all(set(chunk.columns) == set(NAMES) for chunk in chunks)
        assert all(len(chunk) == len(column) for chunk in chunks for column in chunk.columns.values())
