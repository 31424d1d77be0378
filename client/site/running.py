"""Whether a site runs, and how it stands with its coordinator: a lock, and a note beside it.

* One process serves a site's folder. It holds ``up.lock``, which ends with the process, however that ends.
* What must not happen beside it (another key, a ledger taken up again) holds the same lock meanwhile.
* ``up.json`` says since when it runs and how it is connected; it counts only while the lock is held.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final

from client.site.folder import SiteFolder
from privacy.canonical import from_canonical
from privacy.document import Document, parse
from privacy.errors import SiteConfigError, WireError
from privacy.files import replace_file, take_lock

_LOCK_FILE: Final = "up.lock"
_NOTE_FILE: Final = "up.json"


class Connection(Document):
    """How a running site stands with its coordinator. Times are UTC."""

    running_since: str
    connected_since: str | None = None
    sentence: str = ""
    """Why it is not connected."""


@contextlib.contextmanager
def lock_for_serving(home: SiteFolder) -> Iterator[None]:
    """Be the process that serves the folder.

    Raises:
        SiteConfigError: another one is.
    """
    with _hold_lock(home, f"{home.folder}: another 'consilium-site up' serves this site already"):
        yield


@contextlib.contextmanager
def keep_stopped(home: SiteFolder, what: str) -> Iterator[None]:
    """Keep the site stopped while the block does ``what``.

    Raises:
        SiteConfigError: it runs.
    """
    with _hold_lock(
        home, f"{home.folder}: this site runs; stop it (consilium-site up) before {what}, nothing was changed"
    ):
        yield


def write_connection(home: SiteFolder, connection: Connection) -> None:
    """Run by the process that serves: tell others how it is connected."""
    replace_file(home.folder / _NOTE_FILE, connection.to_bytes(), SiteConfigError)


def read_connection(home: SiteFolder) -> Connection | None:
    """How the running site is connected; None if it does not run."""
    try:
        with _hold_lock(home, ""):
            return None
    except SiteConfigError:
        pass
    try:
        value = from_canonical((home.folder / _NOTE_FILE).read_bytes())
        return parse(value, Connection, SiteConfigError, _NOTE_FILE)
    except (OSError, WireError, SiteConfigError):
        return Connection(running_since="", sentence="it has not said yet how it is connected")


def format_now() -> str:
    """The time, to the second, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@contextlib.contextmanager
def _hold_lock(home: SiteFolder, taken: str) -> Iterator[None]:
    _ = home.config  # a folder that is no site gets no lock
    descriptor = take_lock(home.folder / _LOCK_FILE)
    if descriptor is None:
        raise SiteConfigError(taken)
    try:
        yield
    finally:
        os.close(descriptor)
