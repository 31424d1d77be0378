"""The testimony of a site: the signed headers in which other sites showed it the heads of their ledgers.

An auditor compares it with those sites' ledgers and with the testimony of the coordinator and of other sites
(``consilium-audit reconcile``). Every header is signed by its own site, so a witness can leave headers out, and invent
none. The file has signed lines (``privacy/signed_lines.py``).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from privacy import labels
from privacy.document import Document, parse
from privacy.errors import LedgerError, WireError
from privacy.fields import KeyText
from privacy.keys import PublicKey, SigningKey
from privacy.ledger.testimony import StudySeen
from privacy.protocol.headers import Header
from privacy.sentence import Sentence
from privacy.signed import Signed
from privacy.signed_lines import Trailer, format_lines, read_lines
from privacy.study import Name


class SiteOpening(Document):
    """The first line: the site that writes the testimony."""

    kind: Literal["site-testimony"] = "site-testimony"
    version: Literal[1] = 1
    site: Name
    key: KeyText


class HeaderSeen(Document):
    """A header that the witness has seen; its study stands before it."""

    kind: Literal["header"] = "header"
    header: Signed[Header]
    trained: bool
    """Whether sites trained in its round; the exchange after the last round only evaluates."""
    refused: Sentence | None = None
    """Why the witness refused it: it contradicted what the witness had seen before."""


SiteItem = Annotated[SiteOpening | StudySeen | HeaderSeen, Field(discriminator="kind")]


class _Line(Document):
    item: SiteItem


class SiteTestimonyTrailer(Trailer):
    """The last line of a site's testimony."""

    label: ClassVar[str] = labels.SITE_TESTIMONY


@dataclass
class SiteTestimony:
    """A verified testimony of a site."""

    opening: SiteOpening
    studies: dict[str, StudySeen] = field(default_factory=dict)
    headers: list[HeaderSeen] = field(default_factory=list)

    @property
    def key(self) -> PublicKey:
        """The witness's key."""
        return PublicKey.from_text(self.opening.key)


def format_site_testimony(
    items: Iterable[SiteOpening | StudySeen | HeaderSeen], key: SigningKey
) -> Iterator[bytes]:
    """Yield the lines of a testimony; the first item is its opening.

    Run by a site.
    """
    return format_lines(items, key, SiteTestimonyTrailer)


def read_site_testimony(path: Path) -> SiteTestimony:
    """Read and verify a site's testimony.

    Run by an auditor.

    Raises:
        LedgerError: naming the first line that is wrong, or that the end is missing.
    """
    testimony: SiteTestimony | None = None

    def take(value: object) -> PublicKey:
        nonlocal testimony
        testimony = _add_item(testimony, parse({"item": value}, _Line, LedgerError, "the item").item)
        return testimony.key

    read_lines(path, SiteTestimonyTrailer, take)
    assert testimony is not None  # without an opening there is no trailer
    return testimony


def _add_item(testimony: SiteTestimony | None, item: SiteItem) -> SiteTestimony:
    if testimony is None:
        if not isinstance(item, SiteOpening):
            raise LedgerError(f"expected a testimony to begin with its opening, got '{item.kind}'")
        return SiteTestimony(item)
    match item:
        case SiteOpening():
            raise LedgerError("a testimony has one opening")
        case StudySeen():
            testimony.studies[item.study] = item
        case HeaderSeen():
            _verify_header(testimony, item.header)
            testimony.headers.append(item)
    return testimony


def _verify_header(testimony: SiteTestimony, signed: Signed[Header]) -> None:
    """Verify that a header is signed by the key that its study's roster has for its site."""
    header = signed.statement
    study = testimony.studies.get(header.view.study)
    if study is None or header.site not in study.sites:
        raise LedgerError(
            f"a header of '{header.site}' in the study '{header.view.study}' does not follow that study's roster"
        )
    try:
        signed.verify(PublicKey.from_text(study.sites[header.site]))
    except WireError:
        raise LedgerError(f"a header of '{header.site}' is not signed by the key of the study's roster") from None
