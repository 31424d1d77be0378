"""Record whether a site runs, and how it is connected to its coordinator: a lock, and a file beside it.

Rules:

* one process serves a site's folder. It holds ``up.lock``, which ends with the process, however that ends;
* a command that must not run beside it (a change of the key, a recovery of the ledger) holds the same lock
  meanwhile;
* ``up.json`` says since when the site runs and how it is connected; it counts only while the lock is held.
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
    """How a running site is connected to its coordinator. Times are UTC."""

    running_since: str
    connected_since: str | None = None
    sentence: str = ""
    """Why it is not connected."""


@contextlib.contextmanager
def lock_for_serving(home: SiteFolder) -> Iterator[None]:
    """Hold the lock of the one process that serves the folder, while the block runs.

    Raises:
        SiteConfigError: another process holds it.
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
    """Write how the site is connected, for other processes.

    Run by the process that serves the site.
    """
    replace_file(home.folder / _NOTE_FILE, connection.to_bytes(), SiteConfigError)


def read_connection(home: SiteFolder) -> Connection | None:
    """Read how the running site is connected; None if it does not run."""
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
    """Format the present time, to the second, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@contextlib.contextmanager
def _hold_lock(home: SiteFolder, taken: str) -> Iterator[None]:
    _ = home.config  # raises where the folder is not a site, before a lock is made there
    descriptor = take_lock(home.folder / _LOCK_FILE)
    if descriptor is None:
        raise SiteConfigError(taken)
    try:
        yield
    finally:
        os.close(descriptor)
