"""A study's journal: one SQLite file, append-only, and the aggregates beside it.

::

    studies/STUDY/launch.json             the signed launch
    studies/STUDY/journal.sqlite          events (what the machine must know again) and notes (what people watch)
    studies/STUDY/aggregates/00007.bin    the encrypted sum of round 7, which only sites can open
    studies/STUDY/driver.lock             held by the one process that drives the study

An event is durable when :meth:`Journal.record` returns (WAL, ``synchronous=FULL``).
"""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from privacy.canonical import from_canonical, to_canonical
from privacy.document import read_document
from privacy.errors import FederationError
from privacy.files import replace_file, take_lock
from privacy.sqlite_file import OtherFormatError, SqliteFormat, open_file
from privacy.study.launch import SignedLaunch
from server.study.events import Event, History, parse_event

_FORMAT: Final = SqliteFormat(
    application_id=0x436E534A,  # "CnSJ"
    version=1,
    schema="""
CREATE TABLE event (number INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE note (number INTEGER PRIMARY KEY, time REAL NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE request (number INTEGER PRIMARY KEY CHECK (number > 0)) STRICT;
""",
)


class StudyStatus(StrEnum):
    """Whether a study goes on. One that waits for sites that are away is open, too; one given up is finished, too."""

    OPEN = "open"
    WAITING = "waiting"
    STOPPED = "stopped"
    GIVEN_UP = "given up"
    FINISHED = "finished"


class Journal:
    """One study's journal. Several processes may read it; one drives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "journal.sqlite"
        if not self._path.exists():
            raise FederationError(f"there is no study '{folder.name}' here; see: consilium study list")
        try:
            self._connection = open_file(self._path, _FORMAT)
        except sqlite3.DatabaseError as error:
            raise FederationError(f"{self._path}: the journal cannot be read: {error}") from None
        except OtherFormatError:
            raise FederationError(
                f"{self._path}: not a journal of version {_FORMAT.version}; was it made by a newer version?"
            ) from None

    @classmethod
    def create(cls, folder: Path, launch: SignedLaunch) -> Self:
        """Begin a study's journal: made aside, then put in its place whole, since the coordinator looks all the time.

        Raises:
            FederationError: there is one.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            (aside / "aggregates").mkdir()
            replace_file(aside / "launch.json", launch.to_bytes(), FederationError)
            open_file(aside / "journal.sqlite", _FORMAT, create=True).close()
            aside.rename(folder)
        except OSError as error:
            if folder.exists():
                raise FederationError(f"the study '{folder.name}' exists already") from None
            raise FederationError(f"{folder}: cannot be made: {error.strerror}") from None
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return cls(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *cause: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def read_launch(self) -> SignedLaunch:
        """The study's signed launch."""
        path = self.folder / "launch.json"
        return read_document(path, SignedLaunch, FederationError, "restore the study's folder from your backup")

    def read_history(self) -> History:
        """The fold of all events."""
        history = History()
        for (body,) in self._connection.execute("SELECT body FROM event ORDER BY number"):
            history.apply(parse_event(body))
        return history

    def record(self, event: Event) -> None:
        """Append an event; durable on return."""
        self._write(
            "INSERT INTO event (time, kind, body) VALUES (?, ?, ?)", (time.time(), event.kind, event.to_bytes())
        )

    def read_status(self) -> "StudyStatus":
        """Whether there is anything left to do, without reading it all; a study that waits is just open."""
        newest = (
            "SELECT kind FROM event WHERE kind IN ('stopped', 'resumed', 'finished') ORDER BY number DESC LIMIT 1"
        )
        row = self._connection.execute(newest).fetchone()
        return {"stopped": StudyStatus.STOPPED, "finished": StudyStatus.FINISHED}.get(
            row and row[0], StudyStatus.OPEN
        )

    def compute_waited_s(self) -> float:
        """For how many seconds the study has waited for sites; 0 unless it does."""
        rows = self._connection.execute(
            "SELECT kind, time FROM event "
            "WHERE kind IN ('wait-began', 'epoch-keyed', 'release-asked', 'models-held', 'stopped') "
            "ORDER BY number DESC"
        )
        began = None
        for kind, when in rows:
            if kind != "wait-began":
                break
            began = when
        return 0.0 if began is None else max(0.0, time.time() - began)

    def take_next_number(self) -> int:
        """A request number higher than any before; durable on return."""
        number = self._write("INSERT INTO request DEFAULT VALUES").lastrowid
        assert number is not None
        self._write("DELETE FROM request WHERE number < ?", (number,))
        return number

    def append_note(self, note: dict[str, Any]) -> None:
        """Append a note for whoever watches."""
        self._write("INSERT INTO note (time, body) VALUES (?, ?)", (time.time(), to_canonical(note)))

    def _write(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise FederationError(f"{self._path}: cannot be written: {error}; nothing recorded is lost") from None

    def read_notes(self, after: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """Notes with their numbers, from after ``after``; each with its ``time``."""
        rows = self._connection.execute(
            "SELECT number, time, body FROM note WHERE number > ? ORDER BY number", (after,)
        )
        for number, when, body in rows.fetchall():
            yield number, {"time": when, **from_canonical(body)}

    def find_aggregate_path(self, number: int) -> Path:
        """Where the aggregate of round ``number`` lies."""
        return self.folder / "aggregates" / f"{number:05d}.bin"

    def lock(self) -> int:
        """Take the right to drive the study; it ends with the process, or when the descriptor is closed.

        Raises:
            FederationError: another process drives it.
        """
        descriptor = take_lock(self.folder / "driver.lock")
        if descriptor is None:
            raise FederationError(f"another process drives the study '{self.folder.name}'")
        return descriptor
