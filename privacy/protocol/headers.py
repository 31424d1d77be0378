"""The header of a sealed update: what a site commits to before anything can be opened.

* A header is signed by its site and holds the site's whole view of the study.
* Sites compare the headers of the cohort before any of them releases its mask seed. Masks cancel only if the views
  are equal.
* Every figure in a header is a function of public quantities.
* Sites are witnesses of each other's ledgers: a header shows the head of its site's ledger, and says which heads of the
  others' ledgers its site has seen. A view holds the digest of the last round's headers: all of a cohort have seen the
  same ones, or their masks do not cancel. So a header does not repeat their heads, and says only what is newer.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

from pydantic import Field

from privacy import labels
from privacy.canonical import compute_digest
from privacy.document import Document
from privacy.errors import WireError
from privacy.fields import Count, Digest, StudyId
from privacy.keys import PublicKey
from privacy.signed import Signed, Statement
from privacy.study import MAX_SITES, Name
from privacy.study.launch import Launch

MAX_HEAD_BYTES: Final = 1 << 19
"""A signed head of a site's ledger, which the coordinator sends back to it."""
Total = Annotated[int, Field(ge=-(1 << 40), le=1 << 40)]


class LostHead(Document):
    """The newest entry of a ledger that was lost, which its successor has taken over."""

    number: Count
    hash: Digest


class HeadReference(Document):
    """The last entry of a site's ledger: how many there are, and the hash of the last."""

    number: Count
    hash: Digest
    recovered: LostHead | None = None
    """What the ledger last took over from a lost one; None if it was never restored. Numbers start lower again then."""

    @property
    def lineage(self) -> str:
        """What tells a restored ledger from the one before: the hash of the lost head, or nothing."""
        return "" if self.recovered is None else self.recovered.hash


class Evaluated(Document):
    """Totals over the cohort's test patients, as opened: class x score bin."""

    round: Count
    """The round whose model was scored."""
    opened_in: Count
    """The round whose aggregate held the totals."""
    counts: tuple[Total, ...] = Field(max_length=20_000)


class View(Document):
    """What must be equal at every site of a cohort for its masks to cancel; compared before any release."""

    study: StudyId
    launch: Digest
    epoch: Count
    round: Count
    attempt: Count
    cohort: Digest
    base: Count
    """The last committed round that the model includes."""
    model: Digest
    """Keyed digest of the model trained from: equal at all sites; others cannot compute or test it."""
    key: Digest
    """The commitment to the study key in use."""
    layout: Digest
    """Digest of the quantiser and the packing."""
    reference: Count
    """The patient count whose weight is 1."""
    room: Count = 0
    """With distributed noise over patients: how many patients the range of the round's sum holds. Otherwise 0."""
    patients: Digest
    """Digest of the cohort's public patient counts in the key epoch: it shows that a site signed two counts."""
    headers: Digest
    """Digest of the headers of round ``base``: it shows that a site signed two headers."""


class Header(Statement):
    """What a site has sealed, from which view of the study. Signed by the site; compared before a release."""

    label: ClassVar[str] = labels.HEADER

    site: Name
    view: View
    patients: Count
    """Public patient count: this site's weight where sites are weighted by patients."""
    blob: Digest
    own_mask: Digest
    """Commitment to the seed of its own mask: it shows that this site released a wrong seed."""
    ledger: HeadReference
    epsilon_spent: float | None
    """What this study has cost so far at this site, a function of public quantities; None without privacy."""
    totals: Digest | None
    """Digest of the :class:`Evaluated` in the last opened aggregate, if it held totals."""
    seen: dict[Name, HeadReference] = Field(default_factory=dict, max_length=MAX_SITES)
    """The newest head that this site has seen of the ledger of each other site of the cohort, in any study; not where
    the headers of round ``view.base``, whose digest the view holds, show the same one."""


class Committed(Document):
    """A finished round: its aggregate is the message's blob, its headers say what was added."""

    round: Count
    attempt: Count
    epoch: Count
    cohort: tuple[Name, ...] = Field(max_length=MAX_SITES)
    headers: dict[Name, Signed[Header]] = Field(max_length=MAX_SITES)

    @property
    def view(self) -> View:
        """The view of the first header. The round is committed only if all of them have the same one."""
        return next(iter(self.headers.values())).statement.view


def compute_headers_digest(headers: Mapping[str, Signed[Header]]) -> str:
    """Digest what the headers of a committed round say; before the first round there are none."""
    return compute_digest({name: signed.statement.digest for name, signed in headers.items()})


def verify_headers(
    launch: Launch,
    cohort: tuple[str, ...],
    signed: Mapping[str, Signed[Header]],
    verified: Mapping[str, Signed[Header]],
) -> dict[str, Header]:
    """Verify that these are the headers of exactly this cohort, each signed by its site, and return them.

    ``verified`` are headers of this launch whose signatures were verified before, by site: a header that equals its
    site's there, in every byte that is signed and in the signature, is not verified again.

    Raises:
        WireError: a site is missing or one too many, a signature is wrong, or there are too few for this study.
    """
    if len(cohort) < launch.terms.cohort.minimum or sorted(signed) != sorted(cohort):
        raise WireError(f"expected the headers of {len(cohort)} sites ({', '.join(cohort)}), got {len(signed)}")
    keys = {member.name: PublicKey.from_text(member.identity) for member in launch.roster}
    headers = {}
    for name in cohort:
        if name not in keys:
            raise WireError(f"'{name}' is not on the study's roster")
        headers[name] = signed[name].statement
        if signed[name] != verified.get(name):
            signed[name].verify(keys[name])
        if headers[name].site != name:
            raise WireError(f"the header sent for '{name}' is another site's")
    return headers
