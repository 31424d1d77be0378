"""Read a table or a query of a database, some rows at a time, through SQLAlchemy: SQLite and PostgreSQL.

Rules:

* nothing is written: the transaction is read-only, a SQLite file is opened read-only, and one statement is run. A
  query has no semicolon, since one after it could end the transaction and begin another;
* the whole result is of one moment (PostgreSQL: REPEATABLE READ);
* rows are fetched as they are used, from a cursor at the server, so that memory does not grow with the result;
* the order of the rows is the same each time: a table, and a query without ORDER BY, is ordered by all its columns;
* the password is an argument of the connection, and in no URL, message or log. A message of the database is passed on
  only where it is about names of tables and columns, or about the connection; others may hold values.
"""

import hashlib
import re
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection, Engine, make_url

from client.data.adapters.rows import CHUNK_ROWS, ReportRow, RowChunk, Wanted, write_rows
from privacy.errors import DataError, DataUnavailableError

CONNECT_S: Final = 10
_ABOUT_NAMES: Final = ("42", "3F", "3D")  # classes of SQLSTATE: syntax or access rule, schema, catalogue
_OPTIONS: Final = (
    "host", "port", "hostaddr", "user", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir",
    "sslnegotiation", "gssencmode", "krbsrvname", "channel_binding", "require_auth", "target_session_attrs",
    "application_name",
)  # fmt: skip
"""Options of a URL that are no secret (libpq, 34.1.2); every other one is refused, and never repeated."""
_PASSWORD: Final = "has a password in it; write password_env or password_file instead"  # noqa: S105 - a sentence


def check_url(text: str) -> URL:
    """Return the URL of a database.

    Raises:
        ValueError: it is none of SQLite or PostgreSQL, or has a password in it, or an option that could be one. What
            the URL holds is not repeated.
    """
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise ValueError(
            "expected a URL such as postgresql://user@host:5432/database or sqlite:///file.sqlite"
        ) from None
    options = {name.casefold() for name in url.query}
    if url.password is not None or ":" in (url.username or "") or any("pass" in name for name in options):
        raise ValueError(_PASSWORD)
    if url.drivername not in ("sqlite", "postgresql"):
        raise ValueError(
            "expected a database of SQLite or PostgreSQL: sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        )
    if url.drivername == "sqlite" and not url.database:
        raise ValueError("expected a file: sqlite:///FILE")
    if options - set(_OPTIONS if url.drivername == "postgresql" else ()):
        known = (
            f"these can stand there: {', '.join(_OPTIONS)}" if url.drivername == "postgresql" else "it takes none"
        )
        raise ValueError(f"has an option after '?' that is not used here; {known}")
    return url


def check_query(text: str) -> str:
    """Return a query without a semicolon at its end.

    Raises:
        ValueError: it is no query that reads, or could be several.
    """
    query = text.strip().rstrip(";").rstrip()
    if not re.match(r"(select|with)\b", query, re.IGNORECASE):
        raise ValueError("expected a query that begins with SELECT or WITH")
    if ";" in query:  # wherever it stands: what is a text or a comment differs between databases
        raise ValueError(
            "expected one statement, got a semicolon within it; one in a text is written chr(59), in SQLite char(59)"
        )
    return query


def read_sql(
    url: URL,
    folder: Path,
    name: str,
    statement: str,
    is_table: bool,
    password: str | None,
    wanted: Wanted,
    decimal: str,
    report: ReportRow,
) -> Generator[RowChunk, None, str]:
    """Yield the rows of a table or query, and return the SHA-256 of their words.

    Args:
        url: of the database (:func:`check_url`).
        folder: that to which the path of a SQLite file is relative.
        name: what chunks call the result.
        statement: the query, or the table's name, with its schema before a point if it has one.
        is_table: which of the two it is.
        password: of the database's user.
        wanted: the columns that are wanted.
        decimal: the decimal mark with which numbers are written.
        report: told of every row that is left out; its place is that in the result.

    Raises:
        DataUnavailableError: the database cannot be reached now.
        DataError: it has no such table or column, or refuses the query.
    """
    engine = _open_engine(url, folder, password)
    try:
        with _connect(engine, name) as connection:
            return (yield from _read_result(connection, name, statement, is_table, wanted, decimal, report))
    except exc.SQLAlchemyError as cause:
        raise DataError(f"{name}: the database refuses it: {_describe(cause)}") from None
    finally:
        engine.dispose()


def _open_engine(url: URL, folder: Path, password: str | None) -> Engine:
    if url.drivername == "sqlite":
        path = (folder / str(url.database)).resolve()
        if not path.is_file():
            raise DataUnavailableError(f"{path}: cannot be read: there is no such file")
        return sqlalchemy.create_engine(
            f"sqlite:///file:{_quote_path(path)}?mode=ro&uri=true", hide_parameters=True
        )
    try:
        import psycopg  # noqa: F401 - SQLAlchemy would import it
    except ImportError:
        raise DataError("PostgreSQL is read with psycopg; install it: pip install 'consilium[tables]'") from None
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_S}
    if password is not None:
        arguments["password"] = password
    return sqlalchemy.create_engine(
        url.set(drivername="postgresql+psycopg"), connect_args=arguments, hide_parameters=True
    )


def _quote_path(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path))


def _connect(engine: Engine, name: str) -> Connection:
    try:
        if engine.dialect.name == "sqlite":
            return engine.connect()
        return engine.connect().execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")
    except exc.SQLAlchemyError as cause:
        raise DataUnavailableError(f"{name}: the database cannot be reached: {_read_first_line(cause)}") from None


def _read_result(
    connection: Connection,
    name: str,
    statement: str,
    is_table: bool,
    wanted: Wanted,
    decimal: str,
    report: ReportRow,
) -> Generator[RowChunk, None, str]:
    header = _list_columns(connection, statement, is_table)
    try:
        present = wanted.list_present(header)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    query = _write_query(connection, statement, is_table, present)
    result = connection.execution_options(stream_results=True, yield_per=CHUNK_ROWS).execute(query)
    digest, first = hashlib.sha256("\x1f".join(present).encode()), 1
    places = [list(result.keys()).index(each) for each in present]
    for rows in result.partitions(CHUNK_ROWS):
        values = [[row[place] for place in places] for row in rows]
        words, kept = write_rows(values, range(first, first + len(rows)), present, wanted, decimal, report)
        for row in zip(*words.values(), strict=True):
            digest.update(b"\x1e" + "\x1f".join(row).encode("utf-8", "surrogatepass"))
        first += len(rows)
        yield RowChunk(name, words, kept)
    return digest.hexdigest()


def _list_columns(connection: Connection, statement: str, is_table: bool) -> Sequence[str]:
    if is_table:
        schema, _, table = statement.rpartition(".")
        try:
            return [each["name"] for each in sqlalchemy.inspect(connection).get_columns(table, schema or None)]
        except exc.NoSuchTableError:
            raise DataError(f"{statement}: the database has no such table or view") from None
    empty = sqlalchemy.text(f"SELECT * FROM ({_escape(statement)}) AS asked WHERE 1 = 0")  # noqa: S608 - the owner's
    return list(connection.execute(empty).keys())


def _write_query(
    connection: Connection, statement: str, is_table: bool, present: Sequence[str]
) -> sqlalchemy.Executable:
    quote = connection.dialect.identifier_preparer.quote_identifier
    columns = ", ".join(quote(each) for each in present)
    if is_table:
        of = ".".join(quote(each) for each in statement.rsplit(".", 1))
        return sqlalchemy.text(_escape(f"SELECT {columns} FROM {of} ORDER BY {columns}"))  # noqa: S608 - names only
    if _has_order(statement):
        return sqlalchemy.text(_escape(statement))
    return sqlalchemy.text(_escape(f"SELECT {columns} FROM ({statement}) AS asked ORDER BY {columns}"))  # noqa: S608


def _has_order(statement: str) -> bool:
    """Return whether a query has an ORDER BY of its own, outside of parentheses."""
    depth, outside = 0, list[str]()
    for each in statement:
        depth += {"(": 1, ")": -1}.get(each, 0)
        if depth == 0:
            outside.append(each)
    return re.search(r"\border\s+by\b", "".join(outside), re.IGNORECASE) is not None


def _escape(statement: str) -> str:
    """Return a statement in which SQLAlchemy sees no parameter of its own."""
    return re.sub(r"(?<!\\):(?=\w)", r"\:", statement)


def _describe(cause: exc.SQLAlchemyError) -> str:
    """Describe what a database says, as far as it holds no value."""
    original = getattr(cause, "orig", None) or cause
    state = getattr(original, "sqlstate", None) or ""
    about_names = state.startswith(_ABOUT_NAMES) or re.match(
        r"no such |near |incomplete input|ambiguous column|file is not a database", str(original)
    )
    return _read_first_line(cause) if about_names else f"{type(original).__name__} {state}".strip()


def _read_first_line(cause: exc.SQLAlchemyError) -> str:
    lines = str(getattr(cause, "orig", None) or cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
