"""A book as it is read: every entry is checked against all before it, or the book is not believed.

The site folds its own entries through this before it adds one, and the auditor folds them again.

Rules, in the order in which they are checked:

1. the bytes are one entry in canonical form, its number follows, it names the hash of the entry before it, and
   time does not run backwards;
2. the first entry opens the book and names the key;
3. every entry is signed by that key;
4. what can be said once (a round is paid, a study admitted) is said once;
5. the same data are one population, whatever they are called;
6. every charge is what its event costs, and the population's filter has room for it.
"""

from collections.abc import Iterable
from typing import Final

from privacy.budget import Budget, Filter, Purpose
from privacy.errors import BudgetError, Error, LedgerError, RefusedError
from privacy.keys import PublicKey, SigningKey
from privacy.ledger.entries import (
    FIRST,
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
    Signed,
    Subject,
    read_entry,
    sign,
    verify_signature,
)

_NEVER: Final = "0000-00-00T00:00:00Z"


class Book:
    """What a site's entries say, up to the last one taken.

    Args:
        key: the site's key, known from elsewhere; without it the key is the one that the first entry names, and
            the book vouches for itself only.
    """

    def __init__(self, key: PublicKey | None = None) -> None:
        self._expected_key = key
        self.opened: Open | None = None
        self.head = Head(0, FIRST)
        self.time = _NEVER
        self.populations: dict[str, Population] = {}
        self.unsettled: set[tuple[str, int]] = set()
        self._filters: dict[str, Filter] = {}
        self._population_of_data: dict[str, str] = {}
        self._population_of_study: dict[str, str] = {}
        self._said: dict[Subject, Body] = {}

    @property
    def key(self) -> PublicKey:
        """The key that signs this book.

        Raises:
            LedgerError: the book has no entry yet.
        """
        return PublicKey.from_text(self._opened().key)

    @property
    def site(self) -> str:
        """Whose book this is.

        Raises:
            LedgerError: the book has no entry yet.
        """
        return self._opened().site

    def take(self, signed: Signed) -> Entry:
        """Check the next entry and take it in. After an error the book is of no more use.

        Raises:
            LedgerError: naming the entry and what is wrong with it.
        """
        number = self.head.number + 1
        try:
            entry = self._in_chain(read_entry(signed.entry))
            verify_signature(signed, self._check_opening(entry.body) if self.opened is None else self.key)
            self._obey(entry.body)
        except Error as error:
            raise LedgerError(f"entry {number}: {error}") from None
        self._advance(entry, signed)
        return entry

    def write(self, body: Body, time: str, key: SigningKey) -> Signed:
        """Add an entry. A refusal leaves the book as it was. Run by a site.

        Raises:
            BudgetError: the budget does not allow it.
            RefusedError: the data belong to another population.
            LedgerError: it contradicts the book, or the clock was set back.
        """
        if time < self.time:
            raise LedgerError(f"the clock says {time}, the last entry was written at {self.time}: set the clock")
        number, previous = self.head.number + 1, self.head.hash
        entry = Entry(number=number, kind=body.kind, time=time, previous=previous, body=body)
        if self.opened is None:
            self._check_opening(body)
        self._obey(body)
        signed = sign(entry, key)
        self._advance(entry, signed)
        return signed

    def says(self, body: Body) -> bool:
        """Whether the book says exactly this already, so that asking again changes nothing.

        Raises:
            LedgerError: it says something else about the same subject.
        """
        said = None if body.subject is None else self._said.get(body.subject)
        if said is not None and said != body:
            raise LedgerError(f"{_about(body)} is in the book already, and it says something else there")
        return said is not None

    def filter(self, population: str) -> Filter:
        """The budget's state machine of ``population``.

        Raises:
            LedgerError: it is not registered.
        """
        if population not in self._filters:
            raise LedgerError(f"the population '{population}' is not registered in this book")
        return self._filters[population]

    def allowance(self, study: str) -> Allow | None:
        """What ``study`` was admitted with, if it was."""
        said = self._said.get((Allow.kind, study))
        return said if isinstance(said, Allow) else None

    def filter_of(self, study: str) -> Filter:
        """The budget that ``study`` is paid from.

        Raises:
            BudgetError: it has no allowance here.
        """
        if study not in self._population_of_study:
            raise BudgetError(f"the study '{study}' has no allowance in this book: it was never admitted here")
        return self._filters[self._population_of_study[study]]

    def budgets(self) -> list[Budget]:
        """Every population's figures."""
        return [self._filters[population].budget for population in self.populations]

    def _in_chain(self, entry: Entry) -> Entry:
        if entry.number != self.head.number + 1:
            raise LedgerError(f"expected number {self.head.number + 1}, got {entry.number}")
        if entry.previous != self.head.hash:
            raise LedgerError("it does not follow the entry before it (the hash differs)")
        if entry.time < self.time:
            raise LedgerError(f"written at {entry.time}, before the entry before it ({self.time})")
        return entry

    def _check_opening(self, body: Body) -> PublicKey:
        if not isinstance(body, Open):
            raise LedgerError(f"expected a book to begin with 'open', got '{body.kind}'")
        key = PublicKey.from_text(body.key)
        if self._expected_key is not None and key != self._expected_key:
            raise LedgerError(f"expected the book of the key {self._expected_key.text}, got that of {key.text}")
        return key

    def _obey(self, body: Body) -> None:
        """Apply ``body``, or raise and change nothing."""
        if self.says(body):
            raise LedgerError(f"{_about(body)} is in the book already")
        match body:
            case Open():
                self._open(body)
            case Population():
                self._register(body)
            case Grant():
                granted = self.filter(body.population).grant(body.epsilon, body.delta, body.order)
                _same("limit", body.limit, granted.limit)
            case Allow():
                filter_ = self.filter(body.population)
                _same("charge", body.charge, filter_.price_of(body.plan))
                filter_.allow(body.study, body.plan)
                self._population_of_study[body.study] = body.population
            case Reserve():
                self._pay(body, Purpose.TRAIN)
                self.unsettled.add((body.study, body.round))
            case Evaluate():
                self._pay(body, Purpose.EVALUATE)
            case Settle():
                if (body.study, body.round) not in self.unsettled:
                    raise LedgerError(f"{_about(body)} was never reserved, so it cannot be settled")
                self.unsettled.remove((body.study, body.round))
            case Return():
                filter_ = self.filter_of(body.study)
                _same("charge", body.charge, filter_.unused(body.study))
                filter_.give_back(body.study)
            case ModelRelease():
                self.filter_of(body.study)
            case Refuse() | Incident():
                pass
            case _:
                raise LedgerError(f"the kind '{body.kind}' has no rule")
        if body.subject is not None:
            self._said[body.subject] = body

    def _open(self, body: Open) -> None:
        if self.opened is not None:
            raise LedgerError("the book is open already")
        self.opened = body

    def _register(self, body: Population) -> None:
        owner = self._population_of_data.get(body.data, body.population)
        if owner != body.population:
            raise RefusedError(
                "same-data",
                f"these data are registered as the population '{owner}': the same patients have one budget, "
                f"under one name; use '{owner}'",
            )
        self._population_of_data[body.data] = body.population
        self.populations[body.population] = body
        self._filters.setdefault(body.population, Filter(body.population))

    def _pay(self, body: Reserve | Evaluate, purpose: Purpose) -> None:
        filter_ = self.filter_of(body.study)
        _same("charge", body.charge, filter_.price(body.event))
        filter_.pay(body.study, purpose, body.event)

    def _advance(self, entry: Entry, signed: Signed) -> None:
        self.head = Head(entry.number, signed.hash)
        self.time = entry.time

    def _opened(self) -> Open:
        if self.opened is None:
            raise LedgerError("the book has no entry yet")
        return self.opened


def read_book(entries: Iterable[Signed], key: PublicKey | None = None) -> Book:
    """Fold ``entries`` into the book they make.

    Raises:
        LedgerError: naming the first entry that is wrong; or there is none at all.
    """
    book = Book(key)
    for signed in entries:
        book.take(signed)
    book._opened()
    return book


def _same(name: str, written: int | None, computed: int | None) -> None:
    if written != computed:
        raise LedgerError(f"the {name} is written as {written}, its event comes to {computed}")


def _about(body: Body) -> str:
    match body:
        case Reserve() | Settle() | Evaluate():
            return f"{body.kind} of round {body.round} of the study '{body.study}'"
        case Allow() | Return() | ModelRelease():
            return f"{body.kind} of the study '{body.study}'"
        case _:
            return f"'{body.kind}'"
