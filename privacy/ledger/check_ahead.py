"""Check the entries of a long ledger ahead, on all cores, while they are applied in order.

Nearly all the time of a verification goes into what an entry's bytes alone decide: signatures, and the canonical form.
Processes check that for entries that are not applied yet (:func:`holds`).

Rules:

* a process says of an entry that all of it holds, or nothing. What nothing is said of is verified by whoever applies
  it, as without this module; so an error, and the entry that it names, never depends on it;
* an entry is checked under one key. If another one signs the ledger by the time it is applied, nothing is said of it;
* what fails while entries are read ahead is raised after all items before it were yielded;
* a short ledger is not worth a process. One that cannot be started, or that ends, costs time and nothing else.
"""

import gc
import os
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from queue import SimpleQueue
from typing import IO, Final, Generic, NamedTuple, Self, TypeVar

from privacy.keys import PublicKey
from privacy.ledger.entries import Checkpoint, Recover, read_entry
from privacy.ledger.signing import SignedEntry, verify_signature
from privacy.ledger.state import LedgerState, verify_seen_head

WORTH_IT: Final = 2000
"""Items from which on processes are started."""
BATCH: Final = 250
"""Items that a process gets at a time."""
_BATCHES_EACH: Final = 4
"""Batches that wait for each process or have come back from it: enough that none is ever idle."""
_LENGTHS: Final = struct.Struct(">II")
_PROGRAM: Final = (sys.executable, "-P", "-m", "privacy.ledger.check_worker")

T = TypeVar("T")


class Batch(NamedTuple):
    """Entries that a process checks under one key of one site's ledger."""

    key: PublicKey
    site: str
    entries: Sequence[SignedEntry]

    def to_bytes(self) -> bytes:
        """Return what :func:`read_batch` reads."""
        site = self.site.encode()
        parts = [self.key.raw, _LENGTHS.pack(len(site), len(self.entries)), site]
        for signed in self.entries:
            parts += [_LENGTHS.pack(len(signed.entry), len(signed.signature)), signed.entry, signed.signature]
        return b"".join(parts)


def read_batch(file: IO[bytes]) -> Batch | None:
    """Read a batch from a pipe; None at its end."""
    key = file.read(32)
    if not key:
        return None
    length, count = _LENGTHS.unpack(file.read(_LENGTHS.size))
    site, entries = file.read(length).decode(), []
    for _ in range(count):
        size, signature_size = _LENGTHS.unpack(file.read(_LENGTHS.size))
        entries.append(SignedEntry(file.read(size), file.read(signature_size)))
    return Batch(PublicKey(key), site, entries)


def check_batch(batch: Batch) -> bytes:
    """Check the entries of a batch; return one byte for each, 1 where all holds."""
    return bytes(holds(signed, batch.key, batch.site) for signed in batch.entries)


def holds(signed: SignedEntry, key: PublicKey, site: str) -> bool:
    """Return whether all holds that ``LedgerState.apply`` leaves out for a verified entry, if ``key`` signs it.

    What is wrong is said by whoever applies the entry; it may be one that nobody comes to.
    """
    try:
        body = read_entry(signed.entry).body
        verify_signature(signed, key)
        if isinstance(body, Checkpoint | Recover):
            verify_seen_head(body, site, [key])
    except Exception:  # any bytes are possible
        return False
    return True


def check_ahead(
    items: Iterable[T],
    state: LedgerState,
    find_signed: Callable[[T], SignedEntry | None],
    checkers: "Checkers | None" = None,
) -> Generator[tuple[T, bool], None, None]:
    """Yield ``items`` in order, each with whether the entry in it was checked.

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
        yield from ((item, False) for item in items)
        return
    source = _Source(items)
    first = source.read(WORTH_IT)
    if len(first) < WORTH_IT:
        yield from ((item, False) for item in first)
        source.raise_failure()
        return
    with pause_garbage_collection(), ExitStack() as stack:
        checkers = checkers or stack.enter_context(Checkers(cores))
        yield first[0], False  # from then on the state has a key
        own = max(1, WORTH_IT // 2)
        batches = _cut(first[own:], source)
        ahead = deque(
            _Ahead.submit(checkers, batch, state, find_signed)
            for batch in islice(batches, _BATCHES_EACH * max(1, checkers.count))
        )
        yield from ((item, False) for item in first[1:own])  # while the processes start
        while ahead:
            yield from ahead.popleft().pass_on(state)
            ahead.extend(_Ahead.submit(checkers, batch, state, find_signed) for batch in islice(batches, 1))
        source.raise_failure()


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Pause the search for cycles: while a state grows, it goes through all of it again and again and finds nothing."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


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


class _Ahead(NamedTuple, Generic[T]):
    """Items whose entries are being checked under a key."""

    items: Sequence[T]
    has_entry: Sequence[bool]
    key: PublicKey | None
    checked: "Future[bytes]"

    @classmethod
    def submit(
        cls,
        checkers: "Checkers",
        items: Sequence[T],
        state: LedgerState,
        find_signed: Callable[[T], SignedEntry | None],
    ) -> "_Ahead[T]":
        """Let the entries of ``items`` be checked under the key that signs the ledger now."""
        found = [find_signed(item) for item in items]
        entries = [signed for signed in found if signed is not None]
        key = state.keys[-1] if state.opened is not None else None
        checked = checkers.submit(None if key is None else Batch(key, state.site, entries))
        return cls(items, [signed is not None for signed in found], key, checked)

    def pass_on(self, state: LedgerState) -> Iterator[tuple[T, bool]]:
        """Yield the items, each with whether the entry in it was checked."""
        checked = iter(self.checked.result())
        for item, has_entry in zip(self.items, self.has_entry, strict=True):
            yield item, has_entry and next(checked, 0) == 1 and state.keys[-1] == self.key


class Checkers:
    """Processes that check batches, each with a thread that talks to it."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = ThreadPoolExecutor(max(1, count))
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._processes = []
        with suppress(OSError):  # no process: nothing is said of any entry
            for _ in range(count):
                process = subprocess.Popen(
                    _PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
                self._processes.append(process)
                self._idle.put(process)

    @property
    def pids(self) -> list[int]:
        """The processes' numbers."""
        return [process.pid for process in self._processes]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *cause: object) -> None:
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()

    def submit(self, batch: Batch | None) -> "Future[bytes]":
        """Check a batch; the result has a byte for each entry, 1 where all holds, and may be too short."""
        return self._threads.submit(self._check, batch)

    def _check(self, batch: Batch | None) -> bytes:
        if batch is None or not self._processes:
            return b""
        process = self._idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(batch.to_bytes())
            process.stdin.flush()
            return process.stdout.read(len(batch.entries))
        except (OSError, ValueError):  # it has ended
            return b""
        finally:
            self._idle.put(process)
