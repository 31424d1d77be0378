"""The testimony of a coordinator: every round it saw and every head it countersigned, as signed JSON lines.

An auditor compares it with the sites' ledgers: what one side has and the other lacks, terms that differ, two heads
of one ledger.

A file of signed lines (``privacy/signed_lines.py``). What sites testify of each other has another form
(``privacy/protocol/site_testimony.py``).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from privacy import labels
from privacy.document import Document, parse
from privacy.errors import LedgerError, WireError
from privacy.fields import Digest, KeyText
from privacy.keys import PublicKey, SigningKey
from privacy.ledger.entries import Round, StudyName
from privacy.ledger.signed_head import Countersigned, Number
from privacy.signed_lines import Trailer, format_lines, read_lines
from privacy.study import Name


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


class TestimonyTrailer(Trailer):
    """The last line of a coordinator's testimony."""

    label: ClassVar[str] = labels.TESTIMONY


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
    return format_lines(items, key, TestimonyTrailer)


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

    def take(value: object) -> PublicKey:
        nonlocal testimony
        testimony = _add_item(testimony, parse({"item": value}, _Line, LedgerError, "the item").item)
        return testimony.key

    read_lines(path, TestimonyTrailer, take)
    assert testimony is not None  # without an opening there is no trailer
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
