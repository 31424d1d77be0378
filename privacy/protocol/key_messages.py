"""Messages of a key epoch: key offers, grants, and wrapped study keys.

* Every member offers a session key. The lead site draws the study key and wraps it for each member.
* The coordinator relays offers and grants, and can open none of the keys.
* A key that a member lacks from an earlier epoch is sent again with the new one, so that it can open older rounds.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from privacy import labels
from privacy.canonical import compute_digest
from privacy.document import Document
from privacy.fields import Count, Digest, KeyText, StudyId
from privacy.keys import SECRET_BYTES
from privacy.secure_aggregation.schemes.bfv_parameters import KEY_BYTES
from privacy.signed import Signed, Statement
from privacy.study import MAX_SITES, Name


def _compute_base64_length(size: int) -> int:
    return 4 * -(-size // 3)


MAX_EARLIER: Final = 32
"""The most earlier epochs whose keys are sent with a new one; a site that lacks more gets the rest later."""
MAX_HELD: Final = 256
"""The most epochs, the newest ones, of which a site says that it holds the key."""
_WRAPPING_BYTES: Final = 28
_KEYRING_BYTES: Final = 32 + (1 + MAX_EARLIER) * (_compute_base64_length(KEY_BYTES) + 32)
WrappedKey = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_=-]+$", max_length=_compute_base64_length(SECRET_BYTES + _WRAPPING_BYTES))
]
WrappedKeyring = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_=-]+$", max_length=_compute_base64_length(_KEYRING_BYTES + _WRAPPING_BYTES))
]


class KeyOffer(Statement):
    """A site's session key for this key epoch, and what the site holds. Signed by the site."""

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


class KeyGrant(Statement):
    """The study's keys, wrapped for each pinned peer; the coordinator can open none. Signed by the lead site."""

    label: ClassVar[str] = labels.KEY_GRANT

    study: StudyId
    launch: Digest
    lead: Name
    epoch: Count
    offers: Digest
    """Digest over every offer of the epoch: a site checks that its own is among them."""
    commitment: Digest
    """Commitment to the epoch's study key: it shows when sites received different keys."""
    wrapped: dict[Name, WrappedKey] = Field(max_length=MAX_SITES)
    """For each peer, the key that opens the keyring."""
    keyring: WrappedKeyring
    """The epoch's study key, and earlier ones that a member lacks, encrypted once for all members."""


class KeyParcel(Document):
    """What a member needs to take part in a key epoch."""

    offers: dict[Name, Signed[KeyOffer]] = Field(max_length=MAX_SITES)
    grant: Signed[KeyGrant]


class Wrap(Document):
    """Request to the lead site: draw the epoch's study key and wrap it, with the earlier keys that members lack."""

    kind: Literal["wrap"] = "wrap"
    epoch: Count
    offers: dict[Name, Signed[KeyOffer]] = Field(max_length=MAX_SITES)
    earlier: tuple[Count, ...] = Field(default=(), max_length=MAX_EARLIER)


class Wrappings(Document):
    """The lead site's reply to :class:`Wrap`."""

    kind: Literal["wrapped"] = "wrapped"
    grant: Signed[KeyGrant]


def compute_counts_digest(patients: Mapping[str, int]) -> str:
    """Compute the digest of a cohort's public patient counts."""
    return compute_digest(dict(patients))


def compute_offers_digest(offers: Mapping[str, Signed[KeyOffer]]) -> str:
    """Compute one digest over every offer of a key epoch."""
    return compute_digest({name: offer.digest for name, offer in offers.items()})
