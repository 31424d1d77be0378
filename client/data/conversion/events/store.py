"""Sort events by patient on disk: a temporary SQLite file takes them in any order and gives patient after patient.

Rules:

* the file lies in the conversion's private scratch folder, and is removed with it; no text of a note is in it;
* patients come in the order of a digest of their identifiers, events in order of time, then of what they are: the order
  of rows and files changes nothing;
* in memory are the identifiers of patients, and the events of one patient.
"""

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from client.data.conversion.events.raw import Event, Origin, Person, Visit
from client.data.conversion.events.resolve import Item, ItemKind
from privacy.errors import DataError, StorageError

_BATCH: Final = 10_000  # rows inserted at a time
_CACHE_KIB: Final = 16_384  # of pages, and as much again while it sorts
_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE persons (patient INTEGER, birth INTEGER, death INTEGER, followed INTEGER, facts TEXT,
                      rough INTEGER);
CREATE TABLE visits (patient INTEGER, visit TEXT, start INTEGER, end INTEGER, source INTEGER, row INTEGER);
CREATE TABLE events (patient INTEGER, second INTEGER, visit TEXT, kind INTEGER, number INTEGER, value REAL,
                     source INTEGER, row INTEGER);
"""
_PERSONS: Final = "SELECT * FROM persons ORDER BY patient, birth, death, followed, facts"
_VISITS: Final = "SELECT * FROM visits ORDER BY patient, start, end, visit, source, row"
_EVENTS: Final = "SELECT * FROM events ORDER BY patient, second, kind, number, value, visit, source, row"


class StoredEvent(NamedTuple):
    """One thing that an event of a patient became."""

    second: int
    visit: str | None
    kind: ItemKind
    number: int
    value: float
    origin: Origin


class StoredVisit(NamedTuple):
    """A visit of a patient as a table has it."""

    visit: str
    start: int
    end: int | None
    origin: Origin


@dataclass(frozen=True)
class Timeline:
    """Everything that is known of one patient; events in order of time."""

    patient: str = field(repr=False)
    persons: Sequence[Person] = field(repr=False)
    visits: Sequence[StoredVisit] = field(repr=False)
    events: Sequence[StoredEvent] = field(repr=False)


class EventStore:
    """Takes patients, visits and events, then gives one timeline after another."""

    def __init__(self, scratch: Path) -> None:
        """Make the file in ``scratch``."""
        path = scratch / "events.sqlite"
        path.touch(mode=0o600)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        # where it sorts; the default is a folder that others may write to
        self._database.execute("PRAGMA temp_store_directory = '{}'".format(str(scratch).replace("'", "''")))
        self._database.executescript(_SCHEMA)
        self._database.execute("BEGIN")
        self._names: dict[int, str] = {}
        self._sources: dict[str, int] = {}
        self._waiting: dict[str, list[tuple[Any, ...]]] = {"persons": [], "visits": [], "events": []}

    def close(self) -> None:
        """Close the file."""
        self._database.execute("PRAGMA temp_store_directory = ''")  # it is one for the whole process
        self._database.close()

    def add_person(self, person: Person) -> None:
        """Add what is known of a patient."""
        facts = json.dumps(person.facts)
        number = self._number(person.patient)
        known = (person.birth, person.death, person.followed, facts, int(person.birth_is_rough))
        self._insert("persons", (number, *known))

    def add_visit(self, visit: Visit) -> None:
        """Add a visit."""
        place = (self._number_source(visit.origin.source), visit.origin.row)
        self._insert("visits", (self._number(visit.patient), visit.visit, visit.start, visit.end, *place))

    def add_event(self, event: Event, items: Sequence[Item]) -> None:
        """Add what an event became."""
        patient, source = self._number(event.patient), self._number_source(event.origin.source)
        for item in items:
            self._insert(
                "events",
                (
                    patient,
                    event.second,
                    event.visit,
                    int(item.kind),
                    item.number,
                    item.value,
                    source,
                    event.origin.row,
                ),
            )

    def read_timelines(self) -> Iterator[Timeline]:
        """Yield the timelines of all patients.

        Raises:
            StorageError: the disk is full, or the file cannot be read.
        """
        try:
            for table in self._waiting:
                self._write(table)
            self._database.execute("COMMIT")
            names = {number: name for name, number in self._sources.items()}
            persons, visits, events = (
                _Groups(self._database.execute(query)) for query in (_PERSONS, _VISITS, _EVENTS)
            )
            for number in sorted(self._names):
                patient = self._names[number]
                yield Timeline(
                    patient,
                    [Person(patient, row[1], row[2], row[3], tuple(map(tuple, json.loads(row[4]))), bool(row[5]))
                     for row in persons.take(number)],
                    [StoredVisit(row[1], row[2], row[3], Origin(names[row[4]], row[5])) for row in visits.take(number)],
                    [StoredEvent(row[1], row[2], ItemKind(row[3]), row[4], row[5], Origin(names[row[6]], row[7]))
                     for row in events.take(number)],
                )  # fmt: skip
        except sqlite3.Error as cause:
            raise StorageError(f"events cannot be sorted in the site's folder: {cause}") from None

    def list_patients(self) -> set[str]:
        """List the identifiers of all patients."""
        return set(self._names.values())

    @property
    def patients(self) -> int:
        """The number of patients."""
        return len(self._names)

    def _number(self, patient: str) -> int:
        number = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big", signed=True)
        if self._names.setdefault(number, patient) != patient:
            raise DataError("two patients have digests that begin alike; write their identifiers in another way")
        return number

    def _number_source(self, name: str) -> int:
        return self._sources.setdefault(name, len(self._sources))

    def _insert(self, table: str, row: tuple[Any, ...]) -> None:
        waiting = self._waiting[table]
        waiting.append(row)
        if len(waiting) >= _BATCH:
            try:
                self._write(table)
            except sqlite3.Error as cause:
                raise StorageError(f"events cannot be sorted in the site's folder: {cause}") from None

    def _write(self, table: str) -> None:
        waiting = self._waiting[table]
        if waiting:
            marks = ", ".join("?" * len(waiting[0]))
            self._database.executemany(f"INSERT INTO {table} VALUES ({marks})", waiting)  # noqa: S608 - our own names
            waiting.clear()


class _Groups:
    """Rows in order of their first column, one group after another."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._groups = itertools.groupby(rows, key=lambda row: int(row[0]))
        self._next = next(self._groups, None)

    def take(self, number: int) -> list[tuple[Any, ...]]:
        """Return the rows of ``number``; numbers are asked for in rising order."""
        if self._next is None or self._next[0] != number:
            return []
        rows = list(self._next[1])
        self._next = next(self._groups, None)
        return rows
