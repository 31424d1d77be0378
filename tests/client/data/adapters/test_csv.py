"""A CSV file becomes words, or a sentence that says which line or column to mend, and never what stands there."""

import os
from pathlib import Path

import pytest

from benchmarks.small_study import CONTRACT, write_csv
from client.data.adapters.csv import MAX_FIELD, MAX_TABLE_BYTES, read_words
from client.data.site_data import read_data
from privacy.canonical import compute_sha256
from privacy.errors import DataError
from privacy.study import TableContract

NAMES = ("id", "age", "ill")
SMALL = TableContract.model_validate(CONTRACT)


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("id,age,ill\na,1,x\nb,2,y\n", [2, 3]),
        ("\ufeffid,age,ill\r\na,1,x\r\n\r\nb,2,y", [2, 4]),
        ("id,age,ill\ra,1,x\rb,2,y\r", [2, 3]),
        ('"id" , age,note,ill\na ,1,"two\nlines",x\nb, 2,,y\n', [2, 4]),
        ('age,"ill",id\n1,x,a\n"2","y",b\n', [2, 3]),
    ],
    ids=["plain", "mark and CRLF", "CR", "newline in quotes", "order"],
)
def test_table_is_read_with_the_line_of_each_row(tmp_path: Path, content: str, lines: list[int]) -> None:
    path = written(tmp_path, content.replace('"id" ,', '"id",'))
    words = read_words(path, NAMES)
    assert dict(words.columns) == {"id": ["a", "b"], "age": ["1", "2"], "ill": ["x", "y"]}
    assert list(words.lines) == lines
    assert words.mistakes == ()
    assert words.sha256 == compute_sha256(path.read_bytes())


def test_table_words_and_names_are_composed(tmp_path: Path) -> None:
    path = written(tmp_path, "id,gro\u0308\u00dfe,ill\na,u\u0308,x\n")
    assert read_words(path, ["gr\u00f6\u00dfe"]).columns == {"gr\u00f6\u00dfe": ["\u00fc"]}


def test_table_with_a_long_field_in_a_column_nobody_asks_for_is_read(tmp_path: Path) -> None:
    letter = "x" * 3_000_000
    path = written(tmp_path, f"id,letter,age,ill\na,{letter},1,x\nb,,2,y\n")
    assert read_words(path, NAMES).columns["id"] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty; the first line must name the columns"),
        ("id,age,ill\n", "has no rows"),
        ("id;age;ill\na;1;x\n", "its columns are separated by semicolons: export it with commas"),
        ('"id";"age";"ill"\n', "its columns are separated by semicolons"),
        ("id\tage\till\na\t1\tx\n", "its columns are separated by tabs"),
        ("a\tb\n1\t2\n", "its columns are separated by tabs"),
        ("id|age|ill\n", "its columns are separated by vertical bars"),
        (
            "ID,Age,I LL\na,1,x\n",
            r"did you mean 'ID' for 'id'\?; did you mean 'Age' for 'age'\?; .* 'I LL' for 'ill'",
        ),
        ("# export of Monday\nid,age,ill\na,1,x\n", "line 2 names them: remove the lines above it"),
        (
            "secret,1,x\nb,2,y\n",
            "lacks 3 columns of the contract: id, age, ill; the first line must name the columns",
        ),
        ('id,age,ill\na,1,x\nb,"2,y\nc,3,x\n', "line 3 is not CSV: a quote opens in the row that begins there"),
        ('id,age,ill\na,1,x\nb,"2"2,y\n', "line 3 is not CSV"),
        ('id,age,ill\na,"1,x\nb,2,y\nc,"3",x\n', "line 4 is not CSV: .*, in the row that begins in line 2"),
        (b"id,age,ill\n\xe4,1,x\n", "expected a CSV file in UTF-8, got other bytes; save it as CSV UTF-8"),
        ("id,age,ill\n".encode("utf-16"), "it looks like UTF-16"),
        (b"PK\x03\x04\xff\xff", "it looks like an Excel workbook"),
        (b"\x1f\x8b\x08\x00", "it looks like a gzip archive"),
        (b"PAR1\xff\xfe", "it looks like a Parquet file"),
        ("id,age,ill\na," + "1" * (MAX_FIELD + 1), "line 2 is not CSV: it has more than"),
    ],
)
def test_table_that_cannot_be_read_says_what_to_mend(tmp_path: Path, content: str | bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        read_words(written(tmp_path, content), NAMES)
    assert "secret" not in str(caught.value)
    assert "Monday" not in str(caught.value)


def test_table_with_some_columns_names_the_others_and_goes_on(tmp_path: Path) -> None:
    words = read_words(written(tmp_path, "id,Age,Age\na,1,1\nb,2,2\nb,2\nb\n"), [*NAMES])
    assert [mistake.sentence for mistake in words.mistakes] == [
        "lacks 2 columns of the contract: age, ill; did you mean 'Age' for 'age'?; did you mean 'Age' for 'age'?",
        "2 rows do not have the header's 3 fields",
    ]
    assert words.columns == {"id": ["a", "b"]}
    assert words.mistakes[1].places == ((4, "2 fields"), (5, "1 fields"))


@pytest.mark.parametrize("name", ["/dev/zero", "a folder", "a pipe", "a huge file"])
def test_table_that_has_no_end_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    path = Path(name) if name.startswith("/") else tmp_path / "t"
    if name == "a folder":
        path.mkdir()
    elif name == "a pipe":
        os.mkfifo(path)
    elif name == "a huge file":
        with path.open("wb") as file:
            file.truncate(MAX_TABLE_BYTES + 1)
    with pytest.raises(DataError, match=r"expected a file, got (a folder|a device or a pipe)|expected at most"):
        read_words(path, NAMES)


def test_table_mistake_shows_no_word_when_printed(tmp_path: Path) -> None:
    words = read_words(written(tmp_path, "id,age,ill\nsecret,1\nb,2,y\n"), NAMES)
    assert "secret" not in repr(words)
    with pytest.raises(DataError) as caught:
        read_data(SMALL, write_csv(tmp_path / "u.csv", ["a,secret,f,yes"]))
    assert "secret" not in str(caught.value) + repr(caught.value.__context__)
