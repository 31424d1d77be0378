"""Messages of a key epoch: key offers, grants, and wrapped study keys."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from privacy import labels
from privacy.canonical import compute_digest
from privacy.document import Document
from privacy.fields import Count, Digest, StudyId
from privacy.keys import SECRET_BYTES
from privacy.secure_aggregation.schemes.bfv_parameters import KEY_BYTES
from privacy.signed import Signed, Statement
from privacy.study import MAX_SITES, Name
from privacy.study.launch import KeyText


def _compute_base64_length(size: int) -> int:
    return 4 * -(-size // 3)


MAX_EARLIER: Final = 32
"""Earlier epochs whose keys go with a new one; who lacks more gets the rest in a later epoch."""
MAX_HELD: Final = 256
"""Epochs that a site says it holds: the newest."""
_WRAPPING_BYTES: Final = 28
_KEYRING_BYTES: Final = 32 + (1 + MAX_EARLIER) * (_compute_base64_length(KEY_BYTES) + 32)
WrappedKey = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_=-]+$", max_length=_compute_base64_length(SECRET_BYTES + _WRAPPING_BYTES))
]
WrappedKeyring = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_=-]+$", max_length=_compute_base64_length(_KEYRING_BYTES + _WRAPPING_BYTES))
]


class Offer(Statement):
    """Run by a site: my session key for this key epoch, and what I hold."""

    label: ClassVar[str] = labels.KEY_OFFER

    study: StudyId
    launch: Digest
    site: Name
    epoch: Count
    session_key: KeyText
    base: Count
    """The last round that this site has opened and applied."""
    holds: tuple[Count, ...] = Field(max_length=MAX_HELD)
    """The newest key epochs whose study keys this site still has in memory."""
    patients: Count
    """Public patient count of the study's population here."""


class Grant(Statement):
    """Run by the lead site: the study's keys, wrapped for each pinned peer; the coordinator opens none."""

    label: ClassVar[str] = labels.KEY_GRANT

    study: StudyId
    launch: Digest
    lead: Name
    epoch: Count
    offers: Digest
    """Over every offer of the epoch: a site checks that its own is among them."""
    commitment: Digest
    """To the epoch's study key: two sites that were given different keys notice."""
    wrapped: dict[Name, WrappedKey] = Field(max_length=MAX_SITES)
    """For each peer, the key of the keyring."""
    keyring: WrappedKeyring
    """The epoch's study key, and earlier ones that a member lacks, encrypted once for all."""


class KeyParcel(Document):
    """What a member needs to take part in a key epoch."""

    offers: dict[Name, Signed[Offer]] = Field(max_length=MAX_SITES)
    grant: Signed[Grant]


class Wrap(Document):
    """Asked of the lead site: draw the epoch's study key and wrap it, with the older keys that members lack."""

    kind: Literal["wrap"] = "wrap"
    epoch: Count
    offers: dict[Name, Signed[Offer]] = Field(max_length=MAX_SITES)
    earlier: tuple[Count, ...] = Field(default=(), max_length=MAX_EARLIER)


class Wrappings(Document):
    """The lead's answer."""

    kind: Literal["wrapped"] = "wrapped"
    grant: Signed[Grant]


def compute_counts_digest(patients: Mapping[str, int]) -> str:
    """Digest a cohort's public patient counts."""
    return compute_digest(dict(patients))


def compute_offers_digest(offers: Mapping[str, Signed[Offer]]) -> str:
    """One digest over every offer of a key epoch."""
    return compute_digest({name: offer.digest for name, offer in offers.items()})
