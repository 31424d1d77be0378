"""The testimony of a coordinator: every round it saw and every head it countersigned, as signed JSON lines.

An auditor compares it with the sites' ledgers: what one side has and the other lacks, terms that differ, two heads
of one ledger.

Rules, as for a ledger's export:

* There is one canonical JSON line for each item; the first is the opening.
* The last line is a signed trailer with the number of items and the hash over all of them, so that a changed, moved
  or missing line is noticed.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from privacy import labels
from privacy.canonical import from_canonical
from privacy.document import Document, parse
from privacy.errors import Error, LedgerError, WireError
from privacy.exchanged_files import normalise_line
from privacy.fields import Digest, KeyText
from privacy.keys import PublicKey, SigningKey
from privacy.ledger.entries import Round, StudyName
from privacy.ledger.signed_head import Countersigned, Number
from privacy.signed import Signed, Statement
from privacy.study import Name

MAX_LINE_BYTES: Final = 4 << 20


class Opening(Document):
    """The first line: the coordinator that writes the testimony."""

    kind: Literal["testimony"] = "testimony"
    version: Literal[1] = 1
    witness: Name
    federation: Name
    key: KeyText


class StudySeen(Document):
    """A study that was launched, and the sites that it invited (names and identity keys)."""

    kind: Literal["study"] = "study"
    study: StudyName
    terms: Digest
    sites: dict[Name, KeyText]


class RoundSeen(Document):
    """A round that was committed: the sites in its sum, and the head of each site's ledger when it sealed."""

    kind: Literal["round"] = "round"
    study: StudyName
    round: Round
    attempt: Number
    base: Round
    """The round whose model was trained from, or evaluated."""
    trained: bool
    """Whether sites trained in it; the exchange after the last round only evaluates."""
    heads: dict[Name, Digest]


class VoidSeen(Document):
    """A round that counts but has no result."""

    kind: Literal["void"] = "void"
    study: StudyName
    round: Round


class HeadSeen(Document):
    """A head that was countersigned."""

    kind: Literal["head"] = "head"
    countersigned: Countersigned


Item = Annotated[Opening | StudySeen | RoundSeen | VoidSeen | HeadSeen, Field(discriminator="kind")]


class _Line(Document):
    item: Item


class TestimonyTrailer(Statement):
    """The last line: how many items there are, and the SHA-256 over all their lines."""

    label: ClassVar[str] = labels.TESTIMONY

    count: Number
    items: Digest


@dataclass
class Testimony:
    """A verified testimony."""

    opening: Opening
    studies: dict[str, StudySeen] = field(default_factory=dict)
    rounds: dict[tuple[str, int], RoundSeen] = field(default_factory=dict)
    void: set[tuple[str, int]] = field(default_factory=set)
    heads: list[Countersigned] = field(default_factory=list)

    @property
    def key(self) -> PublicKey:
        """The witness's key."""
        return PublicKey.from_text(self.opening.key)


def format_testimony(
    items: Iterable[Opening | StudySeen | RoundSeen | VoidSeen | HeadSeen], key: SigningKey
) -> Iterator[bytes]:
    """Yield the lines of a testimony; the first item is its opening.

    Run by a coordinator.
    """
    count, everything = 0, hashlib.sha256()
    for item in items:
        line = item.to_bytes() + b"\n"
        count += 1
        everything.update(line)
        yield line
    yield (
        Signed[TestimonyTrailer].sign(key, TestimonyTrailer(count=count, items=everything.hexdigest())).to_bytes()
        + b"\n"
    )


def read_testimony(path: Path, key: PublicKey | None = None) -> Testimony:
    """Read and verify a testimony.

    Run by an auditor.

    Args:
        path: the file.
        key: the coordinator's key, known from another source; without it, only the testimony itself names the key.

    Raises:
        LedgerError: naming the first line that is wrong, or that the end is missing.
    """
    testimony: Testimony | None = None
    count, everything, whole = 0, hashlib.sha256(), False
    for number, line in enumerate(_read_lines(path), start=1):
        try:
            if whole:
                raise LedgerError("something follows the trailer")
            value = from_canonical(line.removesuffix(b"\n"))
            if testimony is not None and isinstance(value, dict) and "statement" in value:
                _check_trailer(value, testimony, count, everything.hexdigest())
                whole = True
                continue
            item = parse({"item": value}, _Line, LedgerError, "the item").item
            testimony = _add_item(testimony, item)
        except Error as error:
            raise LedgerError(f"{path}: line {number}: {error}") from None
        except Exception as error:  # the file comes from another party: any bytes are possible
            raise LedgerError(f"{path}: line {number}: it cannot be read ({type(error).__name__})") from error
        count += 1
        everything.update(line)
    if testimony is None or not whole:
        raise LedgerError(f"{path}: ends without its signed trailer: its tail was cut off; ask for the whole file")
    if key is not None and testimony.key != key:
        raise LedgerError(
            f"{path}: expected the testimony of the key {key.typed}, got that of {testimony.key.typed}"
        )
    return testimony


def _add_item(testimony: Testimony | None, item: Item) -> Testimony:
    if testimony is None:
        if not isinstance(item, Opening):
            raise LedgerError(f"expected a testimony to begin with its opening, got '{item.kind}'")
        return Testimony(item)
    match item:
        case Opening():
            raise LedgerError("a testimony has one opening")
        case StudySeen():
            testimony.studies[item.study] = item
        case RoundSeen():
            testimony.rounds[item.study, item.round] = item
        case VoidSeen():
            testimony.void.add((item.study, item.round))
        case HeadSeen():
            seen = item.countersigned.seen
            try:
                seen.verify(testimony.key)
            except WireError:
                raise LedgerError("a countersignature is not by the key that the opening names") from None
            testimony.heads.append(item.countersigned)
    return testimony


def _check_trailer(value: object, testimony: Testimony, count: int, items: str) -> None:
    signed = parse(value, Signed[TestimonyTrailer], LedgerError, "the trailer")
    try:
        trailer = signed.verify(testimony.key)
    except WireError:
        raise LedgerError("the trailer is not signed by the key that the opening names") from None
    if (trailer.count, trailer.items) != (count, items):
        raise LedgerError(f"the trailer promises {trailer.count} items, or others than the {count} that are here")


def _read_lines(path: Path) -> Iterator[bytes]:
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
