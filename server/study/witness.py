"""Countersign and keep every ledger head that the coordinator has seen from a site, in one SQLite file.

Rules:

* a head counts only if its site signed it;
* two heads of one ledger with the same number and different hashes mean two ledgers (a cloned machine, a rewritten
  history). The reply with the second head is refused;
* after a recovery a ledger's numbers start lower again. This is accepted once, if the recovered ledger took over
  the newest head that this witness has seen;
* a countersigned head is durable before it is sent.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from privacy.canonical import from_canonical
from privacy.document import parse
from privacy.errors import FederationError, WireError
from privacy.keys import SigningKey
from privacy.ledger.signed_head import Countersigned, LedgerHead
from privacy.signed import Signed
from privacy.sqlite_file import OtherFormatError, SqliteFormat, open_file
from privacy.study import COORDINATOR

_FORMAT: Final = SqliteFormat(
    application_id=0x436E5357,  # "CnSW"
    version=1,
    schema="""
CREATE TABLE IF NOT EXISTS seen (
    number INTEGER PRIMARY KEY,
    site TEXT NOT NULL,
    recovered TEXT NOT NULL,
    entry INTEGER NOT NULL,
    hash TEXT NOT NULL,
    countersigned BLOB NOT NULL,
    UNIQUE (site, recovered, entry)
) STRICT;
CREATE INDEX IF NOT EXISTS seen_of_site ON seen (site);
""",
)


class Witness:
    """The witness of one federation. Several processes may use it; each call opens the file itself."""

    def __init__(self, path: Path, key: SigningKey) -> None:
        self._path = path
        self._key = key

    def countersign(self, head: Signed[LedgerHead]) -> None:
        """Countersign and store a head whose signature was checked.

        Raises:
            WireError: the head is not of the ledger that this witness knows.
            FederationError: the file cannot be written.
        """
        try:
            self._countersign(head)
        except sqlite3.Error as error:
            raise FederationError(f"{self._path}: cannot be written: {error}; nothing recorded is lost") from None

    def _countersign(self, head: Signed[LedgerHead]) -> None:
        state = head.statement
        recovered = state.recovered or ""
        with closing(self._connect()) as connection, connection:
            # Takes the write lock before reading, so that no other process inserts in between.
            connection.execute("BEGIN IMMEDIATE")
            known = connection.execute(
                "SELECT hash FROM seen WHERE site = ? AND recovered = ? AND entry = ?",
                (state.site, recovered, state.number),
            ).fetchone()
            if known is not None:
                if known[0] != state.hash:
                    raise WireError(
                        f"it shows another entry {state.number} of its ledger than it has shown before: two copies "
                        "of the ledger are in use, or it was rewritten"
                    )
                return
            newest = connection.execute(_NEWEST, (state.site,)).fetchone()
            # Accepted: the newest known ledger, and a ledger that was recovered from its newest known head.
            if newest is not None and newest[0] != recovered and newest[1] != recovered:
                raise WireError(
                    "its ledger was restored from a backup without taking over the newest head this coordinator has "
                    "seen, or a copy from before is still in use"
                )
            countersigned = Countersigned.sign(self._key, COORDINATOR, head)
            connection.execute(
                "INSERT INTO seen (site, recovered, entry, hash, countersigned) VALUES (?, ?, ?, ?, ?)",
                (state.site, recovered, state.number, state.hash, countersigned.to_bytes()),
            )

    def read_newest_head(self, site: str) -> Countersigned | None:
        """Read the newest head of ``site``'s ledger; None if none was seen."""
        with closing(self._connect()) as connection:
            row = connection.execute(_NEWEST, (site,)).fetchone()
        return None if row is None else self._read(row[2])

    def read_heads(self) -> Iterator[Countersigned]:
        """Yield all countersigned heads, in the order in which they were seen."""
        with closing(self._connect()) as connection:
            for (data,) in connection.execute("SELECT countersigned FROM seen ORDER BY number"):
                yield self._read(data)

    def _read(self, data: bytes) -> Countersigned:
        return parse(from_canonical(data), Countersigned, FederationError, str(self._path))

    def _connect(self) -> sqlite3.Connection:
        try:
            return open_file(self._path, _FORMAT, create=True)
        except sqlite3.Error as error:
            raise FederationError(f"{self._path}: cannot be used: {error}; nothing recorded is lost") from None
        except OtherFormatError:
            raise FederationError(f"{self._path}: not a witness file of version {_FORMAT.version}") from None


_NEWEST: Final = """
SELECT recovered, hash, countersigned FROM seen
WHERE site = ?1 AND recovered = (SELECT recovered FROM seen WHERE site = ?1 ORDER BY number DESC LIMIT 1)
ORDER BY entry DESC LIMIT 1
"""
