"""Read a ledger for the auditor's commands, an export or a site's file, and verify it first.

>>> import tempfile
>>> from privacy.keys import SigningKey
>>> from privacy.ledger import Ledger
>>> with tempfile.TemporaryDirectory() as folder:
...     path, key = Path(folder) / "ledger.sqlite", SigningKey.generate()
...     Ledger.create(path, key, "north").close()
...     form, state = read_ledger(path, key.public)
>>> form, state.site, state.head.number
('sqlite', 'north', 1)
"""

from pathlib import Path
from typing import Final

import click

from privacy.errors import Error, LedgerError
from privacy.keys import PublicKey
from privacy.ledger import LedgerState, verify_export, verify_file
from privacy.ledger.papers import Paper
from privacy.ledger.state import Watch

_SQLITE: Final = b"SQLite format 3\0"


def read_ledger(
    path: Path, key: PublicKey | None = None, watch: Watch | None = None, papers: dict[str, Paper] | None = None
) -> tuple[str, LedgerState]:
    """Read and verify the ledger in ``path``; return its form and its state.

    The form is ``sqlite`` or ``export``.

    Args:
        path: a site's SQLite file, or an export of it.
        key: one of the site's keys, known from another source; without it any ledger is accepted that verifies.
        watch: is called with the state and the entry after each entry.
        papers: the papers of studies that an export holds are added to it, by study.

    Raises:
        LedgerError: naming the file: it is missing or no ledger, or an entry is wrong (named).
        StorageError: a SQLite file cannot be read now.
    """
    try:
        if _read_first_bytes(path) == _SQLITE:
            return "sqlite", verify_file(path, key, watch)
        return "export", verify_export(path, key, watch, papers)
    except LedgerError as error:
        said = str(error)
        raise LedgerError(said if said.startswith(f"{path}: ") else f"{path}: {said}") from None


def parse_key(text: str) -> PublicKey:
    """Parse a key from the command line."""
    try:
        return PublicKey.from_typed(text)
    except Error as error:
        raise click.BadParameter(str(error), param_hint="--key") from None


def _read_first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE))
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}") from None
