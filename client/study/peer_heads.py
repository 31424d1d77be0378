"""Keep the signed headers in which other sites showed the heads of their ledgers, in one SQLite file.

Rules:

* headers are only ever added. A header that contradicted what was known is kept too, marked as refused: it is the
  evidence;
* a header is durable before it is answered to;
* of one site the newest head counts: of the ledger that it showed last, the highest number;
* only headers whose signature was checked come here (``privacy/protocol/headers.py``);
* a header is parsed once: the newest ones stay in memory beside their bytes.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from privacy.canonical import from_canonical
from privacy.document import parse
from privacy.errors import StorageError
from privacy.protocol.headers import Header, HeadReference
from privacy.signed import Signed
from privacy.sqlite_file import OtherFormatError, SqliteFormat, open_file
from privacy.study import MAX_SITES

SignedHeader = Signed[Header]

_IN_MEMORY: Final = 4 * MAX_SITES
"""Headers of the round before and of the attempts since, of the largest cohort."""

_FORMAT: Final = SqliteFormat(
    application_id=0x436E5048,  # "CnPH"
    version=1,
    schema="""
CREATE TABLE IF NOT EXISTS seen (
    number INTEGER PRIMARY KEY,
    site TEXT NOT NULL,
    study TEXT NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    lineage TEXT NOT NULL,
    entry INTEGER NOT NULL,
    hash TEXT NOT NULL,
    refused TEXT,
    header BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS seen_entry ON seen (site, lineage, entry);
CREATE INDEX IF NOT EXISTS seen_attempt ON seen (study, round, attempt, site);
CREATE INDEX IF NOT EXISTS seen_of_site ON seen (site) WHERE refused IS NULL;
CREATE INDEX IF NOT EXISTS seen_in_study ON seen (site, study, entry) WHERE refused IS NULL;
CREATE INDEX IF NOT EXISTS seen_refused ON seen (site, study) WHERE refused IS NOT NULL;
CREATE TABLE IF NOT EXISTS committed (
    study TEXT NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    PRIMARY KEY (study, round)
) STRICT;
CREATE TRIGGER IF NOT EXISTS seen_stays BEFORE UPDATE ON seen BEGIN SELECT RAISE(ABORT, 'never changed'); END;
CREATE TRIGGER IF NOT EXISTS seen_remains BEFORE DELETE ON seen BEGIN SELECT RAISE(ABORT, 'never removed'); END;
""",
)


@dataclass(frozen=True)
class SeenHeader:
    """A header that this site has seen, and why it was refused; None if it was not."""

    header: SignedHeader
    refused: str | None


class PeerHeads:
    """What one site has seen of the others' ledgers; the file is opened by the first call, and belongs to one thread.

    Every method raises :class:`~privacy.errors.StorageError` if the file cannot be used now.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._parsed: dict[bytes, SignedHeader] = {}

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def keep(self, signed: Iterable[SignedHeader], refused: Mapping[str, str]) -> None:
        """Store verified headers of a round; ``refused`` says of which sites' headers, and why. Known ones stay."""
        with self._open() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            for each in signed:
                header, data = each.statement, each.to_bytes()
                self._remember(data, each)
                connection.execute(
                    _KEEP,
                    (
                        header.site,
                        header.view.study,
                        header.view.round,
                        header.view.attempt,
                        header.ledger.lineage,
                        header.ledger.number,
                        header.ledger.hash,
                        refused.get(header.site),
                        data,
                    ),
                )

    def record_committed(self, study: str, round: int, attempt: int) -> None:
        """Record which attempt of a round was committed; durable when this returns."""
        with self._open() as connection:
            connection.execute("INSERT OR IGNORE INTO committed VALUES (?, ?, ?)", (study, round, attempt))

    def list_newest(self, sites: Iterable[str]) -> dict[str, HeadReference]:
        """Return the newest head that each of ``sites`` has shown; a site that has shown none is left out."""
        with self._open() as connection:
            rows = {site: connection.execute(_NEWEST, (site,)).fetchone() for site in sorted(sites)}
        return {site: self._read(row[0]).statement.ledger for site, row in rows.items() if row is not None}

    def has_lineage(self, site: str, lineage: str) -> bool:
        """Return whether ``site`` has shown a head of this ledger before: of its first one, or of a restored one."""
        return (
            self._find("SELECT 1 FROM seen WHERE refused IS NULL AND site = ? AND lineage = ?", site, lineage)
            is not None
        )

    def find_entry(self, site: str, head: HeadReference) -> str | None:
        """Return the hash that ``site`` has shown of the entry with the number of ``head``, of the same ledger."""
        row = self._find(
            "SELECT hash FROM seen WHERE refused IS NULL AND site = ? AND lineage = ? AND entry = ?",
            site,
            head.lineage,
            head.number,
        )
        return None if row is None else str(row[0])

    def find_highest(self, site: str, study: str, upto: int) -> HeadReference | None:
        """Return the head that ``site`` has shown last in ``study``, in rounds up to ``upto``."""
        row = self._find(
            # by the index of entries: without the +, SQLite would sort all rounds of the study
            "SELECT header FROM seen WHERE refused IS NULL AND site = ? AND study = ? AND +round <= ? "
            "ORDER BY entry DESC LIMIT 1",
            site,
            study,
            upto,
        )
        return None if row is None else self._read(row[0]).statement.ledger

    def list_refusals(self, study: str) -> dict[str, str]:
        """Return why a header was refused in ``study``, by its site; sites of which none was are left out."""
        with self._open() as connection:
            rows = connection.execute(
                # by the index of refused headers: without each +, SQLite would read every header of the study, or all
                "SELECT site, refused FROM seen WHERE refused IS NOT NULL AND +study = ? ORDER BY +number DESC",
                (study,),
            ).fetchall()
        return dict(rows)

    def read_committed(self, study: str, round: int) -> dict[str, SignedHeader]:
        """Read the headers of a committed round; none if this site knows of no such round."""
        row = self._find("SELECT attempt FROM committed WHERE study = ? AND round = ?", study, round)
        return {} if row is None else self.read_attempt(study, round, int(row[0]))

    def read_attempt(self, study: str, round: int, attempt: int) -> dict[str, SignedHeader]:
        """Read the headers that sites have shown for an attempt of a round, by site."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT site, header FROM seen WHERE refused IS NULL AND study = ? AND round = ? AND attempt = ? "
                "ORDER BY site",
                (study, round, attempt),
            ).fetchall()
        return {site: self._read(data) for site, data in rows}

    def read_all(self) -> Iterator[SeenHeader]:
        """Yield every header, in the order in which they were seen."""
        with self._open() as connection:
            for data, refused in connection.execute("SELECT header, refused FROM seen ORDER BY number"):
                yield SeenHeader(self._read(data), refused)

    def _find(self, query: str, *values: str | int) -> tuple[str | bytes, ...] | None:
        with self._open() as connection:
            row: tuple[str | bytes, ...] | None = connection.execute(query, values).fetchone()
        return row

    def _read(self, data: str | bytes) -> SignedHeader:
        assert isinstance(data, bytes)
        if data not in self._parsed:
            self._remember(data, parse(from_canonical(data), SignedHeader, StorageError, str(self._path)))
        return self._parsed[data]

    def _remember(self, data: bytes, header: SignedHeader) -> None:
        self._parsed[data] = header
        if len(self._parsed) > _IN_MEMORY:
            del self._parsed[next(iter(self._parsed))]  # the oldest

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is None:
                self._connection = open_file(self._path, _FORMAT, create=True)
            yield self._connection
        except sqlite3.Error as error:
            self.close()
            raise StorageError(f"{self._path}: cannot be used: {error}; nothing recorded is lost") from None
        except OtherFormatError:
            raise StorageError(
                f"{self._path}: not a file of seen heads of version {_FORMAT.version}; restore it from your backup"
            ) from None


_KEEP: Final = """
INSERT OR IGNORE INTO seen (site, study, round, attempt, lineage, entry, hash, refused, header)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE NOT EXISTS
    (SELECT 1 FROM seen WHERE site = ?1 AND study = ?2 AND round = ?3 AND attempt = ?4 AND header = ?9)
"""
# found among those of its attempt: an index of whole headers would take three times the room of the headers

_NEWEST: Final = """
SELECT header FROM seen
WHERE refused IS NULL AND site = ?1 AND lineage =
    (SELECT lineage FROM seen WHERE refused IS NULL AND site = ?1 ORDER BY number DESC LIMIT 1)
ORDER BY entry DESC LIMIT 1
"""
