"""A book on paper, so to speak: signed JSON lines that anybody can check without the site's disk.

Rules:

* One line an entry: the entry as it was signed, and its signature; every line is canonical JSON and ends in a
  newline.
* The last line is a trailer that the site signs: how many entries there are, and the hash of the last. A tail that
  was cut off shows.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from privacy.by_hand import plain_line
from privacy.canonical import sha256, to_canonical
from privacy.document import Document, parse
from privacy.errors import Error, LedgerError
from privacy.keys import PublicKey, SigningKey
from privacy.ledger.book import Book, Watch
from privacy.ledger.entries import FIRST, MAX_ENTRY_BYTES, VERSION, Digest, Signed, from_text, to_text

_LABEL: Final = b"consilium ledger trailer v1\0"
_MAX_LINE_BYTES: Final = MAX_ENTRY_BYTES + 1024


class Trailer(Document):
    """What an export must hold to be whole."""

    version: Literal[1] = VERSION
    count: Annotated[int, Field(ge=1)]
    head: Digest


def lines(entries: Iterable[Signed], key: SigningKey) -> Iterator[bytes]:
    """Write an export. Run by a site."""
    count, head = 0, FIRST
    for signed in entries:
        count, head = count + 1, sha256(signed.entry)
        # the entry's own bytes, not a rewriting of them
        yield b'{"entry":' + signed.entry + b',"signature":"' + to_text(signed.signature).encode() + b'"}\n'
    trailer = Trailer(count=count, head=head)
    signature = key.sign(_LABEL + trailer.to_bytes())
    yield to_canonical({"signature": to_text(signature), "trailer": trailer.model_dump()}) + b"\n"


def verify_export(path: Path, key: PublicKey | None = None, watch: Watch | None = None) -> Book:
    """Check an export, as :func:`read_book` does a book. Run by an auditor.

    Raises:
        LedgerError: naming the first line that is wrong, or that the end is missing.
    """
    book = Book()
    whole = False
    for number, line in enumerate(_read_lines(path), start=1):
        if whole:
            raise LedgerError(f"line {number}: something follows the trailer")
        try:
            value = _read_line(line)
            signature = from_text(value["signature"])
            if "trailer" in value:
                _check_trailer(value["trailer"], signature, book)
                whole = True
        except Error as error:
            raise LedgerError(f"line {number}: {error}") from None
        if not whole:
            entry = book.take(Signed(to_canonical(value["entry"]), signature))
            if watch is not None:
                watch(book, entry)
    if not whole:
        raise LedgerError(
            f"the export ends after entry {book.head.number} without its signed trailer: its tail was cut off; "
            "ask the site for the whole export"
        )
    book.check_key(key)
    return book


def _read_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE_BYTES):
                number += 1
                yield plain_line(line, number)
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}") from None


def _read_line(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise LedgerError("it is cut off or too long: expected a newline at its end")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise LedgerError(
            "expected canonical JSON, got bytes that are not JSON; if the file was changed on its way, ask for it again"
        ) from None
    if not isinstance(value, dict) or set(value) not in ({"entry", "signature"}, {"signature", "trailer"}):
        raise LedgerError("expected an entry or a trailer with its signature")
    if to_canonical(value) + b"\n" != line:
        raise LedgerError("the bytes are not the canonical form (RFC 8785) of what they say")
    if not isinstance(value["signature"], str):
        raise LedgerError("expected a signature as text")
    return value


def _check_trailer(value: Any, signature: bytes, book: Book) -> None:
    trailer = parse(value, Trailer, LedgerError, "the trailer")
    try:
        book.key.verify(signature, _LABEL + trailer.to_bytes())
    except Error:
        raise LedgerError("the trailer is not signed by the book's key") from None
    if (trailer.count, trailer.head) != book.head:
        raise LedgerError(
            f"the trailer promises {trailer.count} entries, the export holds {book.head.number}: part of it was "
            "left out; ask the site for the whole export"
        )
