"""Databases give the words that a text file of the same rows gives; they are read only; no password is told."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from client.data.adapters.rows import RowChunk
from client.data.conversion.findings import Findings
from client.data.conversion.sources import RowSource, SqlSource, open_rows
from privacy.errors import DataUnavailableError, SiteConfigError
from tests.postgresql import PASSWORD, PostgreSql, start_postgresql

SOURCES: TypeAdapter[Any] = TypeAdapter(RowSource)
TABLE = """
CREATE TABLE visit (id text, age integer, weight double precision, price numeric(8, 2), seen date, at timestamp,
                    ill boolean, note text);
INSERT INTO visit VALUES
    ('0012', 63, 71.5, 12.50, '2024-03-01', '2024-03-01 14:30:00', true, ' nach Übung '),
    ('0007', NULL, 80.0, 7.00, NULL, '2024-01-31 00:00:00', false, 'at 12:30 100%');
"""


def read(source: dict[str, Any], folder: Path, columns: list[str], **more: Any) -> tuple[list[RowChunk], Findings]:
    findings = Findings()
    return list(open_rows(SOURCES.validate_python(source), folder, columns, findings, **more)), findings


def join(chunks: list[RowChunk], name: str) -> list[str]:
    return [word for chunk in chunks for word in chunk.columns[name]]


def write_sqlite(folder: Path, script: str) -> None:
    database = sqlite3.connect(folder / "clinic.sqlite")
    database.executescript(script)
    database.close()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSql]:
    with start_postgresql() as started:
        started.run(TABLE)
        yield started


def test_sqlite_table_is_read_in_the_order_of_its_columns_with_every_word(tmp_path: Path) -> None:
    write_sqlite(tmp_path, TABLE.replace("true", "1").replace("false", "0"))
    source = {"kind": "sql", "url": "sqlite:///clinic.sqlite", "table": "visit", "decimal": ","}
    chunks, findings = read(source, tmp_path, ["id", "age", "weight", "seen", "note"], ids=["id"])
    assert findings.mistakes == []
    assert join(chunks, "id") == ["0007", "0012"]
    assert join(chunks, "age") == ["", "63"]
    assert join(chunks, "weight") == ["80", "71,5"]
    assert join(chunks, "seen") == ["", "2024-03-01"]
    assert join(chunks, "note") == ["at 12:30 100%", "nach Übung"]
    assert list(findings.sources) == ["visit"]


def test_postgresql_table_gives_the_same_words_as_a_text_file(
    server: PostgreSql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_PASSWORD", PASSWORD)
    source = {"kind": "sql", "url": server.url, "password_env": "CLINIC_PASSWORD", "table": "public.visit"}
    names = ["id", "age", "weight", "price", "seen", "at", "ill", "note"]
    chunks, findings = read(source, tmp_path, names, ids=["id"])
    assert findings.mistakes == []
    (tmp_path / "visit.csv").write_text(
        "id,age,weight,price,seen,at,ill,note\n"
        "0007,,80,7,,2024-01-31,false,at 12:30 100%\n"
        "0012,63,71.5,12.5,2024-03-01,2024-03-01T14:30:00,true,nach Übung\n",
        encoding="utf-8",
    )
    plain, _ = read({"kind": "csv", "path": "visit.csv"}, tmp_path, names)
    assert {name: join(chunks, name) for name in names} == {name: join(plain, name) for name in names}


def test_postgresql_query_with_colon_and_percent_is_run_as_it_is(
    server: PostgreSql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_PASSWORD", PASSWORD)
    query = (
        "SELECT id, age::text AS years FROM visit WHERE note LIKE '%:30 100\\%' OR note = 'x:y' ORDER BY id DESC;"
    )
    source = {"kind": "sql", "url": server.url, "password_env": "CLINIC_PASSWORD", "query": query}
    chunks, findings = read(source, tmp_path, ["id", "years"])
    assert (findings.mistakes, join(chunks, "id"), join(chunks, "years")) == ([], ["0007"], [""])


def test_postgresql_transaction_is_read_only(
    server: PostgreSql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_PASSWORD", PASSWORD)
    server.run("CREATE TABLE log (n integer); GRANT INSERT ON log TO reader;")
    query = "WITH added AS (INSERT INTO log VALUES (1) RETURNING n) SELECT n FROM added"
    source = {"kind": "sql", "url": server.url, "password_env": "CLINIC_PASSWORD", "query": query}
    chunks, findings = read(source, tmp_path, ["n"])
    assert chunks == []
    assert len(findings.mistakes) == 1
    source["query"] = "SELECT count(*) AS n FROM log"
    chunks, _ = read(source, tmp_path, ["n"])
    assert join(chunks, "n") == ["0"]


def test_postgresql_password_comes_from_a_private_file_only(server: PostgreSql, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o644)
    source = {"kind": "sql", "url": server.url, "password_file": "password", "table": "visit"}
    with pytest.raises(SiteConfigError, match="others may read this password; chmod 600"):
        read(source, tmp_path, ["id"])
    file.chmod(0o600)
    chunks, _ = read(source, tmp_path, ["id"])
    assert join(chunks, "id") == ["0007", "0012"]


def test_postgresql_wrong_password_is_told_without_it(
    server: PostgreSql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_PASSWORD", "secret-and-wrong")
    source = {"kind": "sql", "url": server.url, "password_env": "CLINIC_PASSWORD", "table": "visit"}
    with pytest.raises(DataUnavailableError, match="the database cannot be reached") as caught:
        read(source, tmp_path, ["id"])
    assert "secret-and-wrong" not in str(caught.value)


def test_postgresql_error_about_a_value_is_told_without_it(
    server: PostgreSql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_PASSWORD", PASSWORD)
    query = "SELECT note::integer AS n FROM visit"
    source = {"kind": "sql", "url": server.url, "password_env": "CLINIC_PASSWORD", "query": query}
    _, findings = read(source, tmp_path, ["n"])
    (sentence,) = findings.mistakes
    assert "the database refuses it" in sentence
    assert "Übung" not in sentence
    assert "12:30" not in sentence


def test_postgresql_large_table_is_read_through_a_cursor_at_the_server(
    server: PostgreSql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_PASSWORD", PASSWORD)
    server.run("CREATE TABLE long AS SELECT n::text AS id, n * 2 AS twice FROM generate_series(1, 20000) AS n;")
    source = {
        "kind": "sql",
        "url": server.url,
        "password_env": "CLINIC_PASSWORD",
        "query": "SELECT * FROM long ORDER BY twice",
    }
    chunks, findings = read(source, tmp_path, ["id", "twice"])
    assert [len(chunk) for chunk in chunks] == [8192, 8192, 3616]
    assert [int(word) for word in join(chunks, "twice")] == [2 * n for n in range(1, 20001)]
    again, same = read(source, tmp_path, ["id", "twice"])
    assert len(again) == 3
    assert same.sources == findings.sources


def test_sqlite_order_does_not_depend_on_how_rows_were_inserted(tmp_path: Path) -> None:
    digests = []
    for number, rows in enumerate(("('b', 2), ('a', 1), ('a', 3)", "('a', 3), ('b', 2), ('a', 1)")):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_sqlite(folder, f"CREATE TABLE t (id, n); INSERT INTO t VALUES {rows};")  # noqa: S608
        for source in ({"table": "t"}, {"query": "SELECT * FROM t"}):
            _, findings = read({"kind": "sql", "url": "sqlite:///clinic.sqlite", **source}, folder, ["id", "n"])
            digests.append(list(findings.sources.values()))
    assert all(each == digests[0] for each in digests)


def test_sqlite_identifier_stored_with_a_point_leaves_out_its_row(tmp_path: Path) -> None:
    write_sqlite(
        tmp_path, "CREATE TABLE t (id, n); INSERT INTO t VALUES (12, 1), (13.0, 2), ('14', 3), (x'00', 4);"
    )
    source = {"kind": "sql", "url": "sqlite:///clinic.sqlite", "query": "SELECT * FROM t ORDER BY n"}
    chunks, findings = read(source, tmp_path, ["id", "n"], ids=["id"])
    assert join(chunks, "id") == ["12", "14"]
    assert dict(findings.counts) == {
        "column 'id': is an identifier that is stored as a number with a point; store it as text": 1,
        "column 'id': holds a bytes, expected text, a number, a date, or yes or no": 1,
    }


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"table": "absent"}, "absent: the database has no such table or view"),
        ({"query": "SELECT surname FROM t"}, "query: the database refuses it: no such column: surname"),
        ({"table": "t"}, "t: lacks 1 column of the mapping: ID; did you mean 'id' for 'ID'?"),
    ],
)
def test_sqlite_without_what_is_asked_for_is_refused_with_names(
    tmp_path: Path, source: dict[str, str], sentence: str
) -> None:
    write_sqlite(tmp_path, "CREATE TABLE t (id, n);")
    _, findings = read({"kind": "sql", "url": "sqlite:///clinic.sqlite", **source}, tmp_path, ["ID"])
    assert findings.mistakes == [sentence]


def test_sqlite_file_that_is_absent_is_not_made(tmp_path: Path) -> None:
    source = {"kind": "sql", "url": "sqlite:///clinic.sqlite", "table": "t"}
    with pytest.raises(DataUnavailableError, match="there is no such file"):
        read(source, tmp_path, ["id"])
    assert list(tmp_path.iterdir()) == []


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clinic.sqlite").write_text("id,age\n1,2\n" * 1000)
    _, findings = read({"kind": "sql", "url": "sqlite:///clinic.sqlite", "table": "t"}, tmp_path, ["id"])
    assert findings.mistakes == ["t: the database refuses it: file is not a database"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"url": "postgresql://reader:pw@db/clinic"}, "has a password in it; write password_env or password_file"),
        ({"url": "postgresql://reader@db/clinic?password=pw"}, "has a password in it"),
        ({"url": "postgresql://reader@db/clinic?sslPassword=pw"}, "has a password in it"),
        ({"url": "postgresql://reader%3Apw@db/clinic"}, "has a password in it"),
        ({"url": "postgresql://reader@db:pw/clinic"}, "expected a URL such as"),
        (
            {"url": "postgresql://reader@db/clinic?secret=pw"},
            "has an option after '.' that is not used here; these",
        ),
        (
            {"url": "postgresql://reader@db/clinic?options=-cx%3Dpw"},
            "has an option after '.' that is not used here",
        ),
        ({"url": "sqlite:///clinic.sqlite?key=pw"}, "has an option after '.' that is not used here; it takes none"),
        ({"url": "mysql://reader@db/clinic"}, "expected a database of SQLite or PostgreSQL"),
        ({"url": "sqlite://"}, "expected a file"),
        ({"url": "clinic"}, "expected a URL such as"),
        ({"query": "SELECT 1"}, "name either a table or a query"),
        ({"table": None, "query": "DELETE FROM t"}, "expected a query that begins with SELECT or WITH"),
        ({"password_env": "A", "password_file": "b"}, "name either password_env or password_file"),
    ],
)
def test_sql_source_with_a_mistake_is_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence) as caught:
        SqlSource.model_validate({"kind": "sql", "url": "postgresql://reader@db/clinic", "table": "t", **changed})
    assert not re.search(r"\bpw\b|3Apw", str(caught.value))


def test_password_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    source = {"kind": "sql", "url": "postgresql://r@/d", "password_env": "CONSILIUM_NOT_SET", "table": "t"}
    with pytest.raises(SiteConfigError, match="CONSILIUM_NOT_SET is not set"):
        read(source, tmp_path, ["id"])


def test_sqlite_text_that_is_no_utf_8_is_refused_without_it(tmp_path: Path) -> None:
    write_sqlite(tmp_path, "CREATE TABLE t (id, n); INSERT INTO t VALUES (CAST(x'47ff47' AS TEXT), 1);")
    _, findings = read({"kind": "sql", "url": "sqlite:///clinic.sqlite", "table": "t"}, tmp_path, ["id"])
    assert findings.mistakes == ["t: the database refuses it: OperationalError"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutated_sqlite_file_gives_a_sentence_or_whole_rows(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("t")
    rows = ", ".join(f"('{row:05}', {row}.5)" for row in range(40))
    write_sqlite(folder, f"CREATE TABLE t (id TEXT, n REAL); INSERT INTO t VALUES {rows};")  # noqa: S608
    path = folder / "clinic.sqlite"
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.binary(min_size=1, max_size=4))
        content[place : place + len(new)] = new
    path.write_bytes(bytes(content[: data.draw(st.sampled_from([None, 4096, 6000]))]))
    chunks, findings = read({"kind": "sql", "url": "sqlite:///clinic.sqlite", "table": "t"}, folder, ["id", "n"])
    assert all("\n" not in each for each in findings.mistakes)
    assert all(len(chunk) == len(column) for chunk in chunks for column in chunk.columns.values())


@pytest.mark.parametrize(
    "query",
    [
        "SELECT n FROM log) AS a; COMMIT; INSERT INTO log VALUES (1); SELECT * FROM (SELECT n FROM log",
        "SELECT n FROM log ORDER BY n; COMMIT; INSERT INTO log VALUES (1)",
        "SELECT n FROM log -- ; and more",
        "SELECT n FROM log WHERE 'a;b' = 'c'",
    ],
)
def test_query_of_several_statements_is_refused(query: str) -> None:
    """One that ends the transaction could write: the first one of these did."""
    with pytest.raises(ValidationError, match="expected one statement, got a semicolon within it"):
        SqlSource.model_validate({"kind": "sql", "url": "sqlite:///x.sqlite", "query": query})
