"""Record who changed what at the coordinator: an append-only log, each entry with the hash of the one before.

* Written before the call takes effect ("asked") and after it ("done", or the refusal), so that a crash hides nothing.
* Triggers in the file refuse to change or remove an entry; the chain of hashes shows an entry that was changed or
  removed in spite of them. Cutting off the end is not noticed by the file alone: keep the last hash elsewhere
  (``consilium log`` prints it).
* It holds names, calls and digests of arguments, and no argument.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from pydantic import Field

from privacy.canonical import from_canonical
from privacy.document import Document, parse
from privacy.errors import FederationError, WireError
from privacy.fields import Digest
from privacy.sqlite_file import OtherFormatError, SqliteFormat, open_file

_FIRST: Final = "0" * 64
_FORMAT: Final = SqliteFormat(
    application_id=0x436E414C,  # "CnAL"
    version=1,
    schema="""
CREATE TABLE entry (number INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TRIGGER entry_in_order BEFORE INSERT ON entry
    WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM entry)
    BEGIN SELECT raise(ABORT, 'an entry is added at the end'); END;
CREATE TRIGGER entry_unchanged BEFORE UPDATE ON entry
    BEGIN SELECT raise(ABORT, 'an entry is never changed'); END;
CREATE TRIGGER entry_kept BEFORE DELETE ON entry
    BEGIN SELECT raise(ABORT, 'an entry is never removed'); END;
""",
)


class LogEntry(Document):
    """One entry: who did what, when."""

    number: int = Field(ge=1)
    time: float
    role: str
    name: str
    account: str = ""
    """The operating system's account, for calls over the Unix socket."""
    call: str
    about: str
    """The study, site or person that the call is about; empty if none."""
    request: Digest
    outcome: str
    order: str = ""
    """The signed order, as it came; empty for calls over the Unix socket."""
    previous: Digest


class AuditLog:
    """The audit log of one federation. Several processes may use it; each call opens the file itself."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(
        self,
        *,
        time: float,
        role: str,
        name: str,
        account: str,
        call: str,
        about: str,
        request: str,
        outcome: str,
        order: str,
    ) -> LogEntry:
        """Append an entry; durable when this returns.

        Raises:
            FederationError: the file cannot be written; the call must then not be carried out.
        """
        try:
            with closing(self._open()) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                last = connection.execute("SELECT bytes FROM entry ORDER BY number DESC LIMIT 1").fetchone()
                before = None if last is None else self._parse(last[0])
                entry = LogEntry(
                    number=1 if before is None else before.number + 1,
                    time=time,
                    role=role,
                    name=name,
                    account=account,
                    call=call,
                    about=about,
                    request=request,
                    outcome=outcome,
                    order=order,
                    previous=_FIRST if before is None else before.digest,
                )
                connection.execute("INSERT INTO entry VALUES (?, ?)", (entry.number, entry.to_bytes()))
        except sqlite3.Error as error:
            raise FederationError(f"{self._path}: cannot be written: {error}; nothing was changed") from None
        return entry

    def read(self, after: int = 0) -> Iterator[LogEntry]:
        """Verify the chain and yield the entries after number ``after``.

        Raises:
            FederationError: the file cannot be read, or an entry does not follow from the one before (named).
        """
        if not self._path.exists():
            return
        previous, number = _FIRST, 0
        try:
            with closing(self._open()) as connection:
                for (data,) in connection.execute("SELECT bytes FROM entry ORDER BY number"):
                    entry = self._parse(data)
                    number += 1
                    if (entry.number, entry.previous) != (number, previous):
                        raise FederationError(
                            f"{self._path}: entry {number} does not follow from the one before: the log was changed"
                        )
                    previous = entry.digest
                    if number > after:
                        yield entry
        except sqlite3.Error as error:
            raise FederationError(f"{self._path}: cannot be read: {error}") from None

    def read_orders(self, since: float) -> Iterator[str]:
        """Yield the signed orders of the entries since a time (seconds since 1970), newest first; nothing is verified.

        Raises:
            FederationError: the file cannot be read.
        """
        if not self._path.exists():
            return
        try:
            with closing(self._open()) as connection:
                for (data,) in connection.execute("SELECT bytes FROM entry ORDER BY number DESC"):
                    entry = self._parse(data)
                    if entry.time < since:
                        return
                    if entry.order:
                        yield entry.order
        except sqlite3.Error as error:
            raise FederationError(f"{self._path}: cannot be read: {error}") from None

    def _open(self) -> sqlite3.Connection:
        try:
            return open_file(self._path, _FORMAT, create=True)
        except OtherFormatError as error:
            raise FederationError(f"{self._path}: not an audit log of this version ({error})") from None

    def _parse(self, data: bytes) -> LogEntry:
        try:
            return parse(from_canonical(data), LogEntry, WireError, "entry")
        except WireError as error:
            raise FederationError(f"{self._path}: an entry cannot be read, the log was changed: {error}") from None
