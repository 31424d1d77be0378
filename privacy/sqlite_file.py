"""Open and create this program's SQLite files: with a write-ahead log, an application id and a version.

Rules:

* ``journal_mode=WAL`` and ``synchronous=FULL``: what is committed survives a power cut (sqlite.org/pragma.html);
* a file of another application, or of another version, is refused by :class:`OtherFormatError`;
* a connection that cannot be used is closed before the error is raised.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from privacy.files import hold_lock

_TIMEOUT_S: Final = 30.0  # while another process writes


@dataclass(frozen=True)
class SqliteFormat:
    """The format of a file: ``PRAGMA application_id``, ``PRAGMA user_version``, and the SQL of its tables."""

    application_id: int
    version: int
    schema: str


class OtherFormatError(Exception):
    """A file is of another application, or of another version."""

    def __init__(self, application_id: int, version: int) -> None:
        super().__init__(f"application id {application_id}, version {version}")
        self.application_id = application_id
        self.version = version


def connect(path: Path, mode: str, timeout_s: float) -> sqlite3.Connection:
    """Connect to ``path`` with SQLite's URI parameter ``mode`` (``mode=ro``); transactions begin explicitly."""
    return sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, timeout=timeout_s, isolation_level=None)


def open_file(path: Path, form: SqliteFormat, *, create: bool = False) -> sqlite3.Connection:
    """Open a file of the format ``form`` for reading and writing; with ``create``, create it if it is new or empty.

    Raises:
        sqlite3.Error: it cannot be opened, or is no SQLite file.
        OtherFormatError: it is another application's, or of another version.
    """
    if create and not (path.exists() and path.stat().st_size):
        # Two processes that begin one file would each find it locked by the other.
        try:
            with hold_lock(path.with_name(f".{path.name}.lock")):
                return _open_file(path, form, create=True)
        except OSError as error:
            raise sqlite3.OperationalError(error.strerror) from None
    return _open_file(path, form, create=create)


def _open_file(path: Path, form: SqliteFormat, *, create: bool) -> sqlite3.Connection:
    connection = connect(path, "mode=rwc" if create else "mode=rw", _TIMEOUT_S)
    try:
        enable_write_ahead_log(connection)
        found = read_format(connection)
        if create and found == (0, 0):
            found = _create_once(connection, form)
        if found != (form.application_id, form.version):
            raise OtherFormatError(*found)
    except BaseException:
        connection.close()
        raise
    return connection


def _create_once(connection: sqlite3.Connection, form: SqliteFormat) -> tuple[int, int]:
    """Create the tables, unless another process was first; return the format that the file has now."""
    try:
        create_tables(connection, form)
    except sqlite3.OperationalError:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if read_format(connection) == (0, 0):
            raise
    return read_format(connection)


def enable_write_ahead_log(connection: sqlite3.Connection) -> bool:
    """Enable a write-ahead log, with a sync of every commit; return whether the disk allows such a log."""
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute("PRAGMA synchronous = FULL")
    return bool(mode == "wal")


def read_format(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the application id and the version of the file."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    return application_id, version


def create_tables(connection: sqlite3.Connection, form: SqliteFormat) -> None:
    """Create the tables of the format ``form`` in an empty file, in one transaction."""
    connection.executescript(
        f"BEGIN IMMEDIATE; {form.schema} PRAGMA application_id = {form.application_id}; "
        f"PRAGMA user_version = {form.version}; COMMIT;"
    )
