"""The verified mark: up to which entry this site has verified its ledger, so that opening does not do all of it again.

* The mark is a file beside the ledger, signed by the site's key: the number and the hash of an entry that this program
  has verified with all entries before it.
* Opening recomputes every hash. If the entry of that number has that hash, then all entries up to it are, byte for
  byte, those that were verified, and what follows from their bytes alone need not be done again: signatures, and that
  they are written canonically. The rules are applied all the same.
* Anything else (no mark, another key or program, another hash) means that everything is verified, as without a mark.
* The chain does not cover signatures. One that was damaged since is found by ``consilium-audit verify`` and by the
  site's own daily verification, which never read the mark.
"""

import logging
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from privacy import labels
from privacy.canonical import from_canonical
from privacy.document import parse
from privacy.errors import Error, StorageError, WireError
from privacy.fields import Digest
from privacy.files import replace_file
from privacy.keys import SigningKey
from privacy.ledger.signing import Head
from privacy.program import read_program
from privacy.signed import Signed, Statement

WORTH_MARKING: Final = 256
"""Entries beyond the mark from which on a new one is written."""
_MOST_BYTES: Final = 4096
_log = logging.getLogger(__name__)


class VerifiedMark(Statement):
    """The program ``code`` has verified all entries up to ``number``, whose hash is ``hash``. Signed by the site."""

    label: ClassVar[str] = labels.LEDGER_VERIFIED

    number: int = Field(ge=1)
    hash: Digest
    code: Digest


def read_mark(ledger: Path, key: SigningKey) -> Head | None:
    """Return the entry up to which this program has verified the file ``ledger``; None if there is no valid mark."""
    try:
        data = _find_path(ledger).read_bytes()
        signed = parse(from_canonical(data[:_MOST_BYTES]), Signed[VerifiedMark], WireError, "the mark")
        mark = signed.verify(key.public)
    except (OSError, Error):
        return None
    return Head(mark.number, mark.hash) if mark.code == read_program().code else None


def write_mark(ledger: Path, key: SigningKey, head: Head) -> None:
    """Write that everything up to ``head`` is verified. A mark that cannot be written costs time, and nothing else."""
    mark = VerifiedMark(number=head.number, hash=head.hash, code=read_program().code)
    try:
        replace_file(_find_path(ledger), Signed[VerifiedMark].sign(key, mark).to_bytes(), StorageError)
    except StorageError as error:
        _log.info("the ledger is verified from its first entry each time it is opened: %s", error)


def _find_path(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}.verified")
