"""The header of a sealed update: what a site commits to before anything can be opened."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

from pydantic import Field

from privacy import labels
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


class Head(Document):
    """The last entry of a site's ledger: how many there are, and the hash of the last."""

    number: Count
    hash: Digest


class Evaluated(Document):
    """Totals over the cohort's test patients, as opened: class x score bin."""

    round: Count
    """The round whose model was scored."""
    opened_in: Count
    """The round whose aggregate brought the totals."""
    counts: tuple[Total, ...] = Field(max_length=20_000)


class View(Document):
    """What every site of a cohort must hold in common for its masks to cancel: compared before any release."""

    study: StudyId
    launch: Digest
    epoch: Count
    round: Count
    attempt: Count
    cohort: Digest
    base: Count
    """The last committed round: what the model has reached."""
    model: Digest
    """Keyed digest of the model trained from: equal at all sites, a guess for nobody else."""
    key: Digest
    """The commitment to the study key in use."""
    layout: Digest
    """Of quantiser and packing."""
    reference: Count
    """The patient count that weighs 1."""
    room: Count = 0
    """With noise that sites add over patients: how many patients the range of the round's sum holds. Otherwise 0."""
    patients: Digest
    """Of the cohort's public patient counts, as offered in the key epoch: whoever signs two counts is noticed."""


class Header(Statement):
    """Run by a site: what it has sealed, from which view of the study. Sites compare them before releasing."""

    label: ClassVar[str] = labels.HEADER

    site: Name
    view: View
    patients: Count
    """Public patient count: this site's weight where sites count by patients."""
    blob: Digest
    own_mask: Digest
    """Commitment to the seed of its own mask: a wrong seed is this site's, and named."""
    ledger: Head
    epsilon_spent: float | None
    """This study's price so far at this site, a function of public quantities; nothing without privacy."""
    totals: Digest | None
    """Of the :class:`Evaluated` that the last opened aggregate brought, if it brought any."""


class Committed(Document):
    """A finished round: its aggregate is the message's blob, its headers say what it was made of."""

    round: Count
    attempt: Count
    epoch: Count
    cohort: tuple[Name, ...] = Field(max_length=MAX_SITES)
    headers: dict[Name, Signed[Header]] = Field(max_length=MAX_SITES)


def verify_headers(
    launch: Launch, cohort: tuple[str, ...], signed: Mapping[str, Signed[Header]]
) -> dict[str, Header]:
    """The headers of exactly this cohort, each signed by its site.

    Raises:
        WireError: a site is missing or too many, a signature does not hold, or there are too few for this study.
    """
    if len(cohort) < launch.terms.cohort.minimum or sorted(signed) != sorted(cohort):
        raise WireError(f"expected the headers of {len(cohort)} sites ({', '.join(cohort)}), got {len(signed)}")
    keys = {member.name: PublicKey.from_text(member.identity) for member in launch.roster}
    headers = {}
    for name in cohort:
        if name not in keys:
            raise WireError(f"'{name}' is not on the study's roster")
        headers[name] = signed[name].verify(keys[name])
        if headers[name].site != name:
            raise WireError(f"the header sent for '{name}' is another site's")
    return headers
