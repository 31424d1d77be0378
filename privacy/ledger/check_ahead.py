"""Read the entries of a long ledger ahead, and let their signatures be checked on all cores meanwhile.

More than half of the time of a verification goes into signatures, which the bytes of an entry alone decide. So entries
are read before their turn, which checks their form, and processes check the signatures in them
(:func:`~privacy.ledger.signing.list_signed_bytes`).

Rules:

* an entry is passed on as read only if its form is right and all signatures in it hold. Anything else is verified by
  whoever applies it, as without this module; so an error, and the entry that it names, never depends on it;
* an entry is checked under one key. If another one signs the ledger by the time it is applied, nothing is said of it;
* what fails while entries are read ahead is raised after all items before it were yielded;
* a short ledger is not worth a process. One that cannot be started, or that ends, costs time and nothing else.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from itertools import islice
from typing import Final, Generic, NamedTuple, TypeVar

from privacy.garbage_collection import pause_garbage_collection
from privacy.keys import PublicKey, SignedBytes
from privacy.ledger.entries import Entry, read_entry
from privacy.ledger.signing import SignedEntry, list_signed_bytes
from privacy.ledger.state import LedgerState
from privacy.signature_checkers import Checkers

WORTH_IT: Final = 2000
"""Items from which on processes are started."""
BATCH: Final = 250
"""Items whose signatures a process gets at a time."""
_BATCHES_EACH: Final = 4
"""Batches that wait for each process or have come back from it: enough that none is ever idle."""

T = TypeVar("T")


def check_ahead(
    items: Iterable[T],
    state: LedgerState,
    find_signed: Callable[[T], SignedEntry | None],
    checkers: Checkers | None = None,
) -> Generator[tuple[T, Entry | None], None, None]:
    """Yield ``items`` in order, each with the entry that was read from it if that is right and its signatures hold.

    The caller applies each entry to ``state`` before it takes the next item, and closes the iterator
    (:func:`contextlib.closing`), which ends the processes.

    Args:
        items: what the file holds.
        state: the ledger's state.
        find_signed: returns the entry in an item; None if it holds none.
        checkers: processes that are there already; if not given, one is started for each core that this process may
            use, and none on a single one.

    Raises:
        Exception: whatever ``items`` raises.
    """
    cores = len(os.sched_getaffinity(0))
    if cores == 1 and checkers is None:
        yield from ((item, None) for item in items)
        return
    source = _Source(items)
    first = source.read(WORTH_IT)
    if len(first) < WORTH_IT:
        yield from ((item, None) for item in first)
        source.raise_failure()
        return
    with pause_garbage_collection(), ExitStack() as stack:
        checkers = checkers or stack.enter_context(Checkers(cores))
        yield first[0], None  # from then on the state has a key
        batches = _cut(first[1:], source)
        ahead = deque(
            _Ahead.submit(checkers, batch, state, find_signed)
            for batch in islice(batches, _BATCHES_EACH * max(1, checkers.count))
        )
        while ahead:
            yield from ahead.popleft().pass_on(state)
            ahead.extend(_Ahead.submit(checkers, batch, state, find_signed) for batch in islice(batches, 1))
        source.raise_failure()


class _Source(Generic[T]):
    """Items that are read before they are needed, and what failed while they were."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._failure: Exception | None = None

    def read(self, most: int) -> list[T]:
        """Read up to ``most`` items; none once there are no more, or reading failed."""
        found: list[T] = []
        try:
            if self._failure is None:
                found.extend(islice(self._items, most))
        except Exception as error:  # it is raised when its turn comes
            self._failure = error
        return found

    def raise_failure(self) -> None:
        """Raise what failed, if something did."""
        if self._failure is not None:
            raise self._failure


def _cut(first: Sequence[T], source: _Source[T]) -> Iterator[Sequence[T]]:
    """Yield batches of items: those of ``first``, then those of ``source``."""
    for at in range(0, len(first), BATCH):
        yield first[at : at + BATCH]
    while batch := source.read(BATCH):
        yield batch


class _Read(NamedTuple, Generic[T]):
    """An item, the entry that was read from it, and how many signatures of it are being checked."""

    item: T
    entry: Entry | None
    signatures: int


class _Ahead(NamedTuple, Generic[T]):
    """Items that were read, and whose signatures are being checked under a key."""

    items: Sequence[_Read[T]]
    key: PublicKey | None
    checked: "Future[bytes]"

    @classmethod
    def submit(
        cls,
        checkers: Checkers,
        items: Sequence[T],
        state: LedgerState,
        find_signed: Callable[[T], SignedEntry | None],
    ) -> "_Ahead[T]":
        """Read ``items``, and let their signatures be checked under the key that signs the ledger now."""
        key = state.keys[-1] if state.opened is not None else None
        read: list[_Read[T]] = []
        signatures: list[SignedBytes] = []
        for item in items:
            signed = find_signed(item)
            entry, found = None, list[SignedBytes]()
            if key is not None and signed is not None:
                entry, found = _try_to_read(signed, key, state.site)
            read.append(_Read(item, entry, len(found)))
            signatures += found
        return cls(read, key, checkers.submit(signatures))

    def pass_on(self, state: LedgerState) -> Iterator[tuple[T, Entry | None]]:
        """Yield the items, each with the entry in it if all of its signatures hold."""
        checked, at = self.checked.result(), 0
        for item, entry, signatures in self.items:
            hold = checked[at : at + signatures] == b"\1" * signatures
            at += signatures
            yield item, entry if hold and state.keys[-1] == self.key else None


def _try_to_read(signed: SignedEntry, key: PublicKey, site: str) -> tuple[Entry | None, list[SignedBytes]]:
    """Read an entry and list its signatures; what is wrong with it is said by whoever applies it, if anybody does."""
    try:
        entry = read_entry(signed.entry)
        return entry, list_signed_bytes(signed, entry.body, site, key)
    except Exception:  # any bytes are possible
        return None, []
