"""The SQLite file of a ledger: create, open and check it, and translate SQLite's errors.

Rules:

* With a write-ahead log and ``synchronous=FULL``, what is committed survives a power cut.
* Triggers in the file refuse to change or remove an entry. They protect against accidents; the chain and the
  signatures protect against intent.
* A file of another application, with other tables or of a newer version is refused, and so is a damaged one.
* What cannot be read or written *now* (locked, a full disk, a folder without permission) is a
  :class:`StorageError`: nothing was done, and the request can be repeated. What cannot be *verified* is a
  :class:`LedgerError`.
* An auditor only reads.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from privacy import sqlite_file
from privacy.errors import LedgerError, StorageError
from privacy.keys import PublicKey
from privacy.ledger.replay import replay
from privacy.ledger.signing import SignedEntry
from privacy.ledger.state import LedgerState, Watch
from privacy.sqlite_file import SqliteFormat

APPLICATION_ID: Final = 0x436F6E73  # "Cons"
SCHEMA_VERSION: Final = 1
TIMEOUT_S: Final = 10.0

_SCHEMA: Final = """
CREATE TABLE entry (
    number INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL,
    signature BLOB NOT NULL CHECK (length(signature) = 64)
) STRICT;
CREATE TRIGGER entry_in_order BEFORE INSERT ON entry
    WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM entry)
    BEGIN SELECT raise(ABORT, 'an entry is added at the end'); END;
CREATE TRIGGER entry_unchanged BEFORE UPDATE ON entry
    BEGIN SELECT raise(ABORT, 'an entry is never changed'); END;
CREATE TRIGGER entry_kept BEFORE DELETE ON entry
    BEGIN SELECT raise(ABORT, 'an entry is never removed'); END;
"""

_FORMAT: Final = SqliteFormat(APPLICATION_ID, SCHEMA_VERSION, _SCHEMA)


def create_tables(path: Path) -> sqlite3.Connection:
    """Create a ledger's tables in the empty file ``path``, without an entry yet.

    Raises:
        StorageError: it cannot be written.
    """
    with translate_errors(path):
        connection = sqlite_file.connect(path, "mode=rw", TIMEOUT_S)
        try:
            _enable_write_ahead_log(path, connection)
            sqlite_file.create_tables(connection, _FORMAT)
        except BaseException:
            connection.close()
            raise
    return connection


def open_file(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Open a ledger's file for appending; ``timeout_s`` is how long to wait while another process writes.

    Raises:
        LedgerError: missing, damaged, not a ledger, or of a newer version.
        StorageError: locked, read-only, or on a disk that cannot be written.
    """
    if not path.is_file():
        raise LedgerError(f"{path}: there is no ledger; create one with the site, or restore it from a backup")
    with translate_errors(path):
        connection = sqlite_file.connect(path, "mode=rw", timeout_s)
        try:
            _check_file(path, connection)
            _enable_write_ahead_log(path, connection)
            connection.execute("BEGIN IMMEDIATE")  # a file that cannot be written is refused now, not in a round
            connection.execute("ROLLBACK")
        except BaseException:
            connection.close()
            raise
    return connection


def verify_file(path: Path, key: PublicKey | None = None, watch: Watch | None = None) -> LedgerState:
    """Verify a site's SQLite file without changing it, as :func:`replay` verifies entries.

    Run by an auditor. If the file has a write-ahead log with entries (it is in use, or its site was killed), SQLite
    may write its index of that log, ``-shm``, beside it. Otherwise nothing is written.

    Raises:
        LedgerError: it is no ledger, or an entry is wrong (named).
        StorageError: it cannot be read.
    """
    if not path.is_file():
        raise LedgerError(f"{path}: there is no ledger; name the site's ledger.sqlite, or an export of it")
    with translate_errors(path):
        # without a write-ahead log beside it, the file is all there is
        log = path.with_name(path.name + "-wal")
        mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        with closing(sqlite_file.connect(path, mode, TIMEOUT_S)) as connection:
            _check_file(path, connection)
            return replay(read_signed_entries(connection), key, watch)


def read_signed_entries(connection: sqlite3.Connection, after: int = 0) -> Iterator[SignedEntry]:
    """Yield the entries after number ``after``.

    Raises:
        LedgerError: one is missing (named).
    """
    rows = connection.execute(
        "SELECT number, bytes, signature FROM entry WHERE number > ? ORDER BY number", (after,)
    )
    for expected, (number, entry, signature) in enumerate(rows, start=after + 1):
        if number != expected:
            raise LedgerError(f"entry {expected}: it is missing, the next one is {number}")
        yield SignedEntry(entry, signature)


def _enable_write_ahead_log(path: Path, connection: sqlite3.Connection) -> None:
    if not sqlite_file.enable_write_ahead_log(connection):
        raise LedgerError(f"{path}: the ledger cannot keep a write-ahead log on this disk; use a local disk")


def _check_file(path: Path, connection: sqlite3.Connection) -> None:
    application, version = sqlite_file.read_format(connection)
    if application != APPLICATION_ID:
        raise LedgerError(f"{path}: a SQLite file, but not a Consilium ledger")
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"{path}: the ledger is of version {version}, this program knows up to {SCHEMA_VERSION}: "
            "install a newer one"
        )
    with closing(sqlite3.connect(":memory:")) as blank:
        blank.executescript(_SCHEMA)
        if _list_objects(connection) != _list_objects(blank):
            raise LedgerError(f"{path}: its tables and triggers are not a ledger's; restore it from a backup")
    damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if damage != "ok":
        raise LedgerError(f"{path}: the ledger file is damaged; restore it from a backup")


def _list_objects(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    return connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Translate SQLite's errors into errors of this program.

    Raises:
        StorageError: it cannot be read or written now.
        LedgerError: it is damaged, or refuses what was written to it.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = _read_error_code(error)
        if code in _PASSING:
            reason, step = _PASSING[code]
            raise StorageError(f"{path}: {reason}; {step}", "ledger") from None
        reason, step = _LASTING.get(code, (str(error), "see the disk and the file's owner"))
        raise LedgerError(f"{path}: {reason}; {step}") from None
    except UnicodeDecodeError:  # in a name of a table, which only damage can bring
        raise LedgerError(f"{path}: the ledger file is damaged; restore it from a backup") from None


_HELD: Final = ("another process holds the ledger", "wait for it to end, then try again")
_PASSING: Final = {
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_LOCKED: _HELD,
    sqlite3.SQLITE_PROTOCOL: _HELD,
    sqlite3.SQLITE_READONLY: ("the ledger is read-only", "make the file and its folder writable for this user"),
    sqlite3.SQLITE_CANTOPEN: (
        "the ledger cannot be opened",
        "make its folder writable, or copy it with its -wal file",
    ),
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space; nothing recorded is lost"),
    sqlite3.SQLITE_IOERR: (
        "the disk does not read or write the ledger",
        "see whether it is full or failing; nothing recorded is lost",
    ),
    sqlite3.SQLITE_NOMEM: ("the machine has no memory left", "end what uses it, then try again"),
}
_LASTING: Final = {
    sqlite3.SQLITE_CORRUPT: ("the ledger file is damaged", "restore it from a backup"),
    sqlite3.SQLITE_NOTADB: ("the file is not a ledger", "name the site's ledger.sqlite, or an export of it"),
}


def _read_error_code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF  # the rest is the extended code
