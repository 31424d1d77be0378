"""Keep a study's journal: one append-only SQLite file, and the aggregates in a folder next to it.

::

    studies/STUDY/launch.json             the signed launch
    studies/STUDY/journal.sqlite          events (from which the machine is built again) and notes (for people)
    studies/STUDY/aggregates/00007.bin    the encrypted sum of round 7, which only sites can open, while they may ask
    studies/STUDY/driver.lock             locked by the one process that runs the study

An event is durable when :meth:`Journal.record` returns (WAL, ``synchronous=FULL``).
"""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from privacy.canonical import from_canonical, to_canonical
from privacy.document import read_document
from privacy.errors import FederationError
from privacy.files import replace_file, take_lock
from privacy.sqlite_file import OtherFormatError, SqliteFormat, open_file
from privacy.study.launch import SignedLaunch
from server.study.aggregates import Aggregates
from server.study.events import Event, History, StudyStatus, WaitBegan, parse_event
from server.study.notes import StudyNote, read_note

_FORMAT: Final = SqliteFormat(
    application_id=0x436E534A,  # "CnSJ"
    version=1,
    schema="""
CREATE TABLE event (number INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX event_turn ON event (number, kind) WHERE kind IN ('stopped', 'resumed', 'finished', 'gave-up');
CREATE TABLE note (number INTEGER PRIMARY KEY, time REAL NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE request (number INTEGER PRIMARY KEY CHECK (number > 0)) STRICT;
""",
)


class Journal:
    """The journal of one study. Several processes may read it; only one runs the study."""

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
        """Create a study's journal.

        Raises:
            FederationError: the study exists already, or the folder cannot be made.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: the coordinator looks for new studies all the time and must not find half a folder.
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
        """Read the study's signed launch."""
        path = self.folder / "launch.json"
        return read_document(path, SignedLaunch, FederationError, "restore the study's folder from your backup")

    def read_history(self) -> History:
        """Read all events, and return the history that follows from them."""
        history = History()
        for (body,) in self._connection.execute("SELECT body FROM event ORDER BY number"):
            history.apply(parse_event(body))
        return history

    def record(self, event: Event) -> None:
        """Append an event; it is durable on return."""
        self._write(
            "INSERT INTO event (time, kind, body) VALUES (?, ?, ?)", (time.time(), event.kind, event.to_bytes())
        )

    def read_status(self) -> StudyStatus:
        """Read the status from the newest events only; a waiting study counts as open."""
        newest = next((kind for kind in self._read_turns() if kind != "gave-up"), "")
        return {"stopped": StudyStatus.STOPPED, "finished": StudyStatus.FINISHED}.get(newest, StudyStatus.OPEN)

    def read_exact_status(self) -> StudyStatus:
        """Read the status as :meth:`read_status` does, but tell a waiting study and one that was given up."""
        if "gave-up" in self._read_turns():
            return StudyStatus.GIVEN_UP
        status = self.read_status()
        waits = status is StudyStatus.OPEN and self._connection.execute(_NEWEST_OF_WAITING).fetchone()
        return StudyStatus.WAITING if waits and waits[0] == "wait-began" else status

    def _read_turns(self) -> list[str]:
        """Read the kinds of the events that changed the status, newest first."""
        return [kind for (kind,) in self._connection.execute(_TURNS)]

    def compute_waited_s(self) -> float:
        """Compute for how many seconds the study has waited for sites, or for decisions; 0 if it does not wait."""
        rows = self._connection.execute(
            "SELECT kind, time, body FROM event "
            "WHERE kind IN ('wait-began', 'epoch-keyed', 'release-asked', 'models-held', 'stopped') "
            "ORDER BY number DESC"
        )
        began, newest = None, None
        for kind, when, body in rows:
            event = parse_event(body) if kind == "wait-began" else None
            if not isinstance(event, WaitBegan) or newest not in (None, event.deciding):
                break
            began, newest = when, event.deciding
        return 0.0 if began is None else max(0.0, time.time() - began)

    def take_next_number(self) -> int:
        """Take a request number that is higher than all before; it is durable on return."""
        number = self._write("INSERT INTO request DEFAULT VALUES").lastrowid
        assert number is not None
        # The newest row stays: SQLite's next number is the largest row's plus one.
        self._write("DELETE FROM request WHERE number < ?", (number,))
        return number

    def append_note(self, note: StudyNote) -> None:
        """Append a note; the journal gives it its number and its time."""
        fields = note.model_dump(mode="json", exclude={"number", "time"})
        self._write("INSERT INTO note (time, body) VALUES (?, ?)", (time.time(), to_canonical(fields)))

    def _write(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise FederationError(f"{self._path}: cannot be written: {error}; nothing recorded is lost") from None

    def read_notes(self, after: int = 0) -> Iterator[StudyNote]:
        """Yield the notes after number ``after``, oldest first.

        Raises:
            FederationError: a note is damaged, or of another version.
        """
        rows = self._connection.execute(
            "SELECT number, time, body FROM note WHERE number > ? ORDER BY number", (after,)
        )
        for number, when, body in rows.fetchall():
            yield read_note({**from_canonical(body), "number": number, "time": when})

    def find_aggregate_path(self, number: int) -> Path:
        """Return the path of the aggregate of round ``number``; see ``server/study/aggregates.py``."""
        return Aggregates(self.folder).find_path(number)

    def lock(self) -> int:
        """Lock the study for this process, until it ends or closes the returned descriptor.

        Raises:
            FederationError: another process runs the study.
        """
        descriptor = take_lock(self.folder / "driver.lock")
        if descriptor is None:
            raise FederationError(f"another process drives the study '{self.folder.name}'")
        return descriptor


_TURNS: Final = """
SELECT kind FROM event WHERE kind IN ('stopped', 'resumed', 'finished', 'gave-up') ORDER BY number DESC
"""
# the same words as of the index event_turn, which has these few events alone

_NEWEST_OF_WAITING: Final = """
SELECT kind FROM event
WHERE kind IN ('wait-began', 'epoch-keyed', 'release-asked', 'models-held', 'stopped', 'finished')
ORDER BY number DESC LIMIT 1
"""
# the newest of those that begin and end a wait (History.waiting): every round has one, so few events are read
