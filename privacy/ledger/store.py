"""The site's book, as the site uses it: everything that is granted, spent, released and refused is added here.

Rules:

* **Check, record, then act**: when a method returns, its entry is durable.
* One addition is one immediate transaction: what other processes added is read and checked, the rules are asked,
  the entry is written. Two processes can never spend the same budget.
* Asked twice, recorded once: the same question again changes nothing.
* Opening checks the whole book, and a book that is not believed is not opened.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from privacy.accountant import Gaussian, SampledGaussian, Unprotected, limit
from privacy.budget import Budget, Planned
from privacy.canonical import sha256
from privacy.document import parse
from privacy.errors import Error, LedgerError
from privacy.keys import SigningKey
from privacy.ledger.book import Book
from privacy.ledger.disk import PATIENCE_S, create_file, open_file, sentences, signed_entries
from privacy.ledger.entries import (
    Allow,
    Body,
    Entry,
    Evaluate,
    Grant,
    Head,
    Incident,
    ModelRelease,
    Open,
    Population,
    Refuse,
    Reserve,
    Return,
    Settle,
    read_entry,
)
from privacy.ledger.export import lines

CLOCK_STEP: Final = timedelta(minutes=1)  # time servers step a clock back by less

B = TypeVar("B", bound=Body)


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


class Ledger:
    """A site's book, open for adding. Make one with :meth:`create` or :meth:`open`; close it, or use ``with``.

    A ledger belongs to one thread; other threads and processes open their own.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, key: SigningKey, clock: Callable[[], datetime]
    ) -> None:
        self._path = path
        self._connection = connection
        self._key = key
        self._clock = clock
        self._book = Book(key.public)

    @classmethod
    def create(cls, path: Path, key: SigningKey, site: str, clock: Callable[[], datetime] = utc_now) -> "Ledger":
        """Begin a new book (a file of its owner, 0600) for ``site``.

        Raises:
            LedgerError: there is a file already, or the folder cannot be written.
        """
        ledger = cls(path, create_file(path), key, clock)
        try:
            ledger._add(Open, site=site, key=key.public.text)
        except BaseException:  # half a book is no book
            ledger.close()
            path.unlink()
            raise
        return ledger

    @classmethod
    def open(
        cls,
        path: Path,
        key: SigningKey,
        clock: Callable[[], datetime] = utc_now,
        patience_s: float = PATIENCE_S,
    ) -> "Ledger":
        """Open the book and check all of it.

        Args:
            path: the SQLite file.
            key: the site's identity, which signed the book so far.
            clock: tells the time.
            patience_s: how long to wait while another process writes.

        Raises:
            LedgerError: missing, locked, read-only, corrupt, of a newer version, or an entry is wrong (named).
        """
        ledger = cls(path, open_file(path, patience_s), key, clock)
        try:
            ledger.refresh()
            if ledger.head.number == 0:
                raise LedgerError(f"{path}: the ledger is empty; restore it from a backup")
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *cause: object) -> None:
        self.close()

    @property
    def site(self) -> str:
        """Whose book this is."""
        return self._book.site

    @property
    def head(self) -> Head:
        """Number and hash of the last entry this process has written or read; :meth:`refresh` reads on."""
        return self._book.head

    def refresh(self) -> None:
        """Read and check what other processes have added.

        Raises:
            LedgerError: an entry is wrong (named), or the file cannot be read.
        """
        with sentences(self._path):
            self._catch_up()

    def register_population(self, name: str, data_digest: str, patients: int, records_per_patient: int) -> None:
        """Register a data set's patients, or their changed file.

        Args:
            name: the population.
            data_digest: SHA-256 of the file as it is now.
            patients: how many, as the site makes it public.
            records_per_patient: the most records of one patient that enter a step.

        Raises:
            RefusedError: the same data are registered under another name.
            LedgerError: the book cannot take it.
        """
        self._add(
            Population,
            population=name,
            data=data_digest,
            patients=patients,
            records_per_patient=records_per_patient,
        )

    def population(self, name: str) -> Population:
        """What was registered last as ``name``.

        Raises:
            LedgerError: nothing was.
        """
        self.refresh()
        self._book.filter(name)
        return self._book.populations[name]

    def grant(self, population: str, epsilon: float, delta: float, order: int) -> None:
        """Set the budget of ``population``, kept at ``order`` from now on.

        Raises:
            BudgetError: it has one already, or the order leaves it no room.
            LedgerError: the book cannot take it.
        """
        room = limit(epsilon, delta, order)
        self._add(Grant, population=population, epsilon=epsilon, delta=delta, order=order, limit=max(0, room))

    def allow(self, study: str, population: str, plan: Sequence[Planned], terms_digest: str) -> None:
        """Admit ``study``, with everything it will cause, and set its price aside.

        Raises:
            BudgetError: it does not fit, or asks for privacy that was given up.
            LedgerError: the study was admitted differently before, or the book cannot take it.
        """
        self._record(
            lambda book: _body(
                Allow,
                study=study,
                population=population,
                terms=terms_digest,
                plan=tuple(plan),
                charge=book.filter(population).price_of(plan),
            )
        )

    def allowance(self, study: str) -> Allow | None:
        """What ``study`` was admitted with (its plan, its terms), if it was.

        Raises:
            LedgerError: the file cannot be read.
        """
        self.refresh()
        return self._book.allowance(study)

    def reserve(self, study: str, round: int, event: SampledGaussian | Unprotected) -> None:
        """Pay a training round; durable before this returns, so before the first gradient.

        Raises:
            BudgetError: the study's plan does not name it, or not so often, or the study is closed.
            LedgerError: the round was paid with another event, or the book cannot take it.
        """
        self._record(lambda book: _paid(Reserve, book, study, round, event))

    def settle(self, study: str, round: int) -> None:
        """Note that a reserved round's training has ended.

        Raises:
            LedgerError: it was never reserved, or the book cannot take it.
        """
        self._add(Settle, study=study, round=round)

    def evaluate(self, study: str, round: int, event: Gaussian | Unprotected) -> None:
        """Pay a round's totals over held-out patients, before they are counted.

        Raises:
            BudgetError: as :meth:`reserve`.
            LedgerError: as :meth:`reserve`.
        """
        self._record(lambda book: _paid(Evaluate, book, study, round, event))

    def give_back(self, study: str) -> None:
        """Close ``study``: what it has not used is left again. Closed already, nothing changes.

        Raises:
            BudgetError: the study was never admitted.
            LedgerError: the book cannot take it.
        """

        def body(book: Book) -> Return | None:
            filter_ = book.filter_of(study)
            if filter_.allowances[study].closed:
                return None
            return Return(study=study, charge=filter_.unused(study))

        self._record(body)

    def release(self, study: str, model_digest: str, to: str = "sites") -> None:
        """Note that a study's model has left.

        Raises:
            BudgetError: the study was never admitted.
            LedgerError: the book cannot take it.
        """
        self._add(ModelRelease, study=study, model=model_digest, to=to)

    def refuse(self, study: str, code: str, sentence: str) -> None:
        """Note that the site refused what was asked, by which rule.

        Raises:
            LedgerError: the book cannot take it.
        """
        self._add(Refuse, study=study, code=code, sentence=sentence)

    def incident(self, study: str, code: str, sentence: str, round: int | None = None) -> None:
        """Note what must not be forgotten: a void round, an aggregate that did not open.

        Raises:
            LedgerError: the book cannot take it.
        """
        self._add(Incident, study=study, round=round, code=code, sentence=sentence)

    def budget(self, population: str) -> Budget:
        """Where ``population`` stands, with what other processes have added.

        Raises:
            LedgerError: it is not registered, or the file cannot be read.
        """
        self.refresh()
        return self._book.filter(population).budget

    def budget_or_none(self, population: str) -> Budget | None:
        """Where ``population`` stands, or None if it is not registered here.

        Raises:
            LedgerError: the file cannot be read.
        """
        self.refresh()
        return self._book.filter(population).budget if population in self._book.populations else None

    def budgets(self) -> list[Budget]:
        """Where every population stands.

        Raises:
            LedgerError: the file cannot be read.
        """
        self.refresh()
        return self._book.budgets()

    def epsilon_spent_by(self, study: str, delta: float) -> float | None:
        """What ``study`` alone has spent so far, at ``delta``; None if no epsilon bounds it.

        Raises:
            BudgetError: the study was never admitted.
            LedgerError: the file cannot be read.
        """
        self.refresh()
        return self._book.filter_of(study).epsilon_spent_by(study, delta)

    def holds(self, number: int, hash: str) -> bool:
        """Whether entry ``number`` is in the book and has this hash: what a witness has seen was not rolled back.

        Raises:
            LedgerError: the file cannot be read.
        """
        with sentences(self._path):
            row = self._connection.execute("SELECT bytes FROM entry WHERE number = ?", (number,)).fetchone()
        return row is not None and sha256(row[0]) == hash

    def entries(self) -> Iterator[Entry]:
        """Every entry, from the first.

        Raises:
            LedgerError: the file cannot be read.
        """
        with sentences(self._path):
            for signed in signed_entries(self._connection):
                yield read_entry(signed.entry)

    def export_lines(self) -> Iterator[bytes]:
        """The book as signed JSON lines, ending in a signed trailer; see ``docs/ledger.md``.

        Raises:
            LedgerError: the file cannot be read.
        """
        with sentences(self._path):
            yield from lines(signed_entries(self._connection), self._key)

    def _add(self, kind: type[Body], **fields: Any) -> None:
        body = _body(kind, **fields)
        self._record(lambda book: body)

    def _record(self, body_for: Callable[[Book], Body | None]) -> None:
        """Add the entry that ``body_for`` makes of the book as it is, unless it says so already."""
        with sentences(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._catch_up()
                body = body_for(self._book)
                if body is None or self._known(body):
                    self._connection.execute("ROLLBACK")
                    return
                signed = self._book.write(body, self._time(), self._key)
                self._connection.execute(
                    "INSERT INTO entry VALUES (?, ?, ?)",
                    (self._book.head.number, signed.entry, signed.signature),
                )
                self._connection.execute("COMMIT")
            except Error:  # a refusal: the book is as it was
                raise
            except BaseException:
                self._book = Book(self._key.public)  # it may be ahead of the file: read it again
                raise
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _known(self, body: Body) -> bool:
        if isinstance(body, Population):
            return self._book.populations.get(body.population) == body
        return self._book.says(body)

    def _catch_up(self) -> None:
        try:
            for signed in signed_entries(self._connection, after=self._book.head.number):
                self._book.take(signed)
        except LedgerError as error:
            self._book = Book(self._key.public)
            raise LedgerError(f"{self._path}: {error}; restore the ledger from a backup") from None

    def _time(self) -> str:
        """Now, or the last entry's time if the clock was stepped back by a little."""
        now = self._clock()
        stepped_back = _written(now) < self._book.time <= _written(now + CLOCK_STEP)
        return self._book.time if stepped_back else _written(now)


def _written(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _body(kind: type[B], **fields: Any) -> B:
    return parse(fields, kind, LedgerError, f"a ledger entry '{kind.kind}'")


def _paid(kind: type[Reserve] | type[Evaluate], book: Book, study: str, round: int, event: Any) -> Body:
    return _body(kind, study=study, round=round, event=event, charge=book.filter_of(study).price(event))
