"""Write and read a file of signed JSON lines: an opening, items, and a signed trailer over all of them.

Rules:

* there is one canonical JSON line for each item; the first is the opening, which names the key of the file's author;
* the last line is a signed trailer with the number of items and the hash over all of them, so that a changed, moved
  or missing line is noticed;
* the file comes from another party: whatever its bytes are, an error names the line.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from privacy.canonical import from_canonical
from privacy.document import Document, parse
from privacy.errors import Error, LedgerError, WireError
from privacy.exchanged_files import normalise_line
from privacy.fields import Digest
from privacy.keys import PublicKey, SigningKey
from privacy.signed import Signed, Statement

MAX_LINE_BYTES: Final = 4 << 20

TakeItem = Callable[[object], PublicKey]
"""Checks and keeps one item; returns the key of the file's author."""


class Trailer(Statement):
    """The last line: how many items there are, and the SHA-256 over all their lines. Each kind has its own label."""

    count: Annotated[int, Field(ge=1, le=2**53 - 1)]
    items: Digest


def format_lines(items: Iterable[Document], key: SigningKey, trailer: type[Trailer]) -> Iterator[bytes]:
    """Yield the lines of a file; the first item is its opening."""
    count, everything = 0, hashlib.sha256()
    for item in items:
        line = item.to_bytes() + b"\n"
        count += 1
        everything.update(line)
        yield line
    end = trailer(count=count, items=everything.hexdigest())
    yield Signed[trailer].sign(key, end).to_bytes() + b"\n"  # type: ignore[valid-type]


def read_lines(path: Path, trailer: type[Trailer], take: TakeItem) -> None:
    """Read a file, and give each item to ``take``, the opening first.

    Raises:
        LedgerError: naming the first line that is wrong, or that the end is missing.
    """
    key: PublicKey | None = None
    count, everything, whole = 0, hashlib.sha256(), False
    for number, line in enumerate(_read_raw_lines(path), start=1):
        try:
            if whole:
                raise LedgerError("something follows the trailer")
            value = from_canonical(line.removesuffix(b"\n"))
            if key is not None and isinstance(value, dict) and "statement" in value:
                _check_trailer(value, trailer, key, count, everything.hexdigest())
                whole = True
                continue
            key = take(value)
        except Error as error:
            raise LedgerError(f"{path}: line {number}: {error}") from None
        except Exception as error:  # the file comes from another party: any bytes are possible
            raise LedgerError(f"{path}: line {number}: it cannot be read ({type(error).__name__})") from error
        count += 1
        everything.update(line)
    if not whole:
        raise LedgerError(f"{path}: ends without its signed trailer: its tail was cut off; ask for the whole file")


def _check_trailer(value: object, kind: type[Trailer], key: PublicKey, count: int, items: str) -> None:
    signed: Signed[Trailer] = parse(value, Signed[kind], LedgerError, "the trailer")  # type: ignore[valid-type]
    try:
        trailer = signed.verify(key)
    except WireError:
        raise LedgerError("the trailer is not signed by the key that the opening names") from None
    if (trailer.count, trailer.items) != (count, items):
        raise LedgerError(f"the trailer promises {trailer.count} items, or others than the {count} that are here")


def _read_raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                if not line.endswith(b"\n"):
                    raise LedgerError(f"{path}: cut off or too long: expected a newline at the end of every line")
                number += 1
                yield normalise_line(line, number)
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}") from None
