"""Append one entry to a ledger, and create a ledger, step by step.

The steps are lists of functions, which ``ledger.py`` calls in order. A test calls the same lists, and stops between
any two steps, to show what a crash there leaves.
"""

import os
import sqlite3
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from privacy.errors import LedgerError, StorageError
from privacy.files import sync_folder
from privacy.garbage_collection import pause_garbage_collection
from privacy.keys import SigningKey
from privacy.ledger.database import create_tables, read_signed_entries, translate_errors
from privacy.ledger.entries import Body, Open, read_entry
from privacy.ledger.replay import add_entries
from privacy.ledger.signing import Head, SignedEntry
from privacy.ledger.state import LedgerState


class Append:
    """One append to a ledger, as a list of steps.

    The entry is in the ledger after the last step and not before. A crash between two steps leaves the ledger as it
    was.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        ledger_state: LedgerState,
        key: SigningKey,
        time: Callable[[], str],
        body_for: Callable[[LedgerState], Body | None],
    ) -> None:
        self._path = path
        self._connection = connection
        self._ledger = ledger_state
        self._key = key
        self._time = time
        self._body_for = body_for
        self._signed: SignedEntry | None = None

    @property
    def steps(self) -> tuple[Callable[[], None], ...]:
        """The steps, in their order."""
        return (self.lock, self.check_new_entries, self.decide, self.insert, self.commit)

    def lock(self) -> None:
        """Keep other processes from adding."""
        self._connection.execute("BEGIN IMMEDIATE")

    def check_new_entries(self) -> None:
        """Read and check the entries that other processes have added."""
        read_new_entries(self._path, self._connection, self._ledger)

    def decide(self) -> None:
        """Check the rules and sign the entry, unless the ledger has it already."""
        body = self._body_for(self._ledger)
        if body is not None and not self._ledger.has_recorded(body):
            self._signed = self._ledger.append(body, self._time(), self._key)

    def insert(self) -> None:
        """Write the entry, if there is one."""
        if self._signed is not None:
            row = (self._ledger.head.number, self._signed.entry, self._signed.signature)
            self._connection.execute("INSERT INTO entry VALUES (?, ?, ?)", row)

    def commit(self) -> None:
        """Make the entry durable."""
        self._connection.execute("COMMIT")


class Create:
    """The creation of a ledger, as a list of steps: a complete file under another name, which then gets its name.

    There is no ledger before the last step, and a complete one after it. A crash between two steps leaves at most a
    file of another name, which no program reads.
    """

    def __init__(self, path: Path, site: str, key: SigningKey, time: str) -> None:
        self._path = path
        self._site = site
        self._key = key
        self._time = time
        self._aside: Path | None = None
        self._connection: sqlite3.Connection | None = None

    @property
    def steps(self) -> tuple[Callable[[], None], ...]:
        """The steps, in their order."""
        return (self.make_empty_file, self.make_table, self.write_first_entry, self.close, self.publish)

    def make_empty_file(self) -> None:
        """Make an empty file in the ledger's folder, which only its owner can read."""
        try:
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        except OSError as error:
            raise self._make_error(error) from None
        os.close(descriptor)
        self._aside = Path(name)

    def make_table(self) -> None:
        """Create the table in the file."""
        self._connection = create_tables(self._written_aside)

    def write_first_entry(self) -> None:
        """Write the first entry."""
        connection, opening = self._connection, Open(site=self._site, key=self._key.public.text)
        if connection is None:
            raise LedgerError(f"{self._path}: a new ledger is laid out before it is begun")
        addition = Append(self._path, connection, LedgerState(), self._key, lambda: self._time, lambda _: opening)
        with translate_errors(self._path):
            for step in addition.steps:
                step()

    def close(self) -> None:
        """Close the file; SQLite then writes the write-ahead log into it."""
        if self._connection is not None:
            self._connection.close()

    def publish(self) -> None:
        """Give the file the ledger's name, if no file has it."""
        try:
            # a link fails where a rename would replace a ledger that another process has created
            os.link(self._written_aside, self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise self._make_error(error) from None

    def clean_up(self) -> None:
        """Remove the file of the other name."""
        self.close()
        if self._aside is not None:
            for suffix in ("", "-wal", "-shm"):
                self._aside.with_name(self._aside.name + suffix).unlink(missing_ok=True)

    @property
    def _written_aside(self) -> Path:
        if self._aside is None:
            raise LedgerError(f"{self._path}: a new ledger is claimed before it is written")
        return self._aside

    def _make_error(self, error: OSError) -> StorageError:
        return StorageError(f"{self._path}: a new ledger cannot be written: {error.strerror}", "ledger")


def read_verified_entries(connection: sqlite3.Connection, mark: Head) -> LedgerState:
    """Read the entries up to ``mark``, which were verified before; return their state, or an empty one.

    It is empty where the entry of that number has another hash: then nothing of this file was verified.
    """
    ledger_state = LedgerState()
    try:
        with pause_garbage_collection():
            for signed in islice(read_signed_entries(connection), mark.number):
                ledger_state.apply(signed, read_entry(signed.entry, verified=True))
    except LedgerError:  # who verifies everything says what is wrong
        return LedgerState()
    return ledger_state if ledger_state.head == mark else LedgerState()


def read_new_entries(path: Path, connection: sqlite3.Connection, ledger_state: LedgerState) -> None:
    """Read, check and apply the entries of the file that ``ledger_state`` does not have yet.

    Raises:
        LedgerError: one is wrong (named).
    """
    try:
        add_entries(ledger_state, read_signed_entries(connection, after=ledger_state.head.number))
    except LedgerError as error:
        raise LedgerError(f"{path}: {error}; restore the ledger from a backup") from None


def format_time(time: datetime) -> str:
    """Format a time as entries write it: UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
