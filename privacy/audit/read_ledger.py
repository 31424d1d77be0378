"""Open a ledger for the auditor's commands: an export or a site's file, verified before anything is said of it."""

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
    """The verified ledger in ``path``, and which form it has; what an export holds of studies is put into ``papers``.

    Raises:
        LedgerError: naming the file: it cannot be read, or an entry is wrong (named).
    """
    try:
        if _read_first_bytes(path) == _SQLITE:
            return "sqlite", verify_file(path, key, watch)
        return "export", verify_export(path, key, watch, papers)
    except LedgerError as error:
        said = str(error)
        raise LedgerError(said if said.startswith(f"{path}: ") else f"{path}: {said}") from None


def parse_key(text: str) -> PublicKey:
    """A key from the command line."""
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
