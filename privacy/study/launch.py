"""The launch of a study: its terms and its roster, signed by the coordinator. A site admits or refuses it.

* The roster names every invited site with its identity key. The coordinator's signature does not protect against the
  coordinator: a site compares each member with the keys that its own data protection officer has pinned.
* Who launched it has signed an order over the terms, the model's size and the sites. The coordinator passes it on, and
  every site verifies it against the launch (:func:`verify_order`). Which operators a site trusts is in its policy.
* The launch has the order's nonce: one order is one launch. A site's ledger knows every order that it was asked
  about, and refuses a second launch of it (``privacy/ledger/decisions.py``).
"""

import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, Final, Self

from pydantic import Field, model_validator

from privacy import labels
from privacy.document import Document
from privacy.errors import WireError
from privacy.fields import Digest, KeyText, OrderNonce
from privacy.keys import PublicKey, SigningKey
from privacy.program import Program
from privacy.signed import Signed, Statement
from privacy.study import MAX_SITES, Name, SiteName, Terms

MAX_LAUNCH_BYTES: Final = 2 << 20
"""Half of the largest body of a message (``privacy/protocol/envelope.py``)."""


_MEMBER_BYTES: Final = 200  # of a site in the roster, and once more in the order
_OTHER_BYTES: Final = 4096


def describe_oversize(terms: Terms, sites: int) -> str | None:
    """Describe that a launch of ``terms`` over so many sites has more bytes than any site takes; None if it has not."""
    size = len(terms.to_bytes()) + sites * _MEMBER_BYTES + _OTHER_BYTES
    if size <= MAX_LAUNCH_BYTES:
        return None
    return (
        f"a launch of it would have about {size} bytes, and no site takes more than {MAX_LAUNCH_BYTES}; name fewer "
        "columns, or fewer words for a column (data)"
    )


class Member(Document):
    """One invited site and its identity key."""

    name: SiteName
    identity: KeyText


class LaunchOrder(Statement):
    """An operator's order to launch exactly this study over exactly these sites. Signed by the operator.

    Attributes:
        terms: digest of the terms.
        operator: under which name the operator is known to the coordinator; sites go by the key.
        time: when it was signed, UTC, by the operator's clock.
        nonce: makes two orders of the same study different.
    """

    label: ClassVar[str] = labels.LAUNCH_ORDER

    federation: Name
    terms: Digest
    parameters: int = Field(ge=1, le=2_000_000_000)
    sites: tuple[SiteName, ...] = Field(min_length=1, max_length=MAX_SITES)
    operator: Name
    key: KeyText
    time: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    nonce: OrderNonce


SignedLaunchOrder = Signed[LaunchOrder]


class Launch(Statement):
    """One study of one federation. ``nonce`` is the order's; it makes two launches of the same terms different."""

    label: ClassVar[str] = labels.LAUNCH

    federation: Name
    terms: Terms
    roster: tuple[Member, ...] = Field(min_length=1, max_length=MAX_SITES)
    parameters: int = Field(ge=1, le=2_000_000_000)
    """Number of shared parameters of the model: it gives the sealed vector's shape, and every site checks it."""
    nonce: OrderNonce
    order: SignedLaunchOrder
    program: Program
    """The program that the study is for: a site that runs another one refuses."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        names = [member.name for member in self.roster]
        if names != sorted(set(names)):
            raise ValueError("roster: expected site names in rising order, each once")
        if len({member.identity for member in self.roster}) < len(names):
            raise ValueError("roster: two sites have the same identity key")
        cohort = self.terms.cohort
        if not cohort.minimum <= len(names) <= cohort.maximum:
            raise ValueError(
                f"roster: {len(names)} sites, the terms allow {cohort.minimum} to {cohort.maximum} (cohort)"
            )
        return self

    @cached_property
    def study(self) -> str:
        """The study's identifier: the terms' name and the first 8 digits of the launch's digest."""
        return f"{self.terms.name}-{self.digest[:8]}"

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the launch, with changes; what the copy has computed before is not copied."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("study", None)
        return copied

    @property
    def names(self) -> tuple[str, ...]:
        """The invited sites, in rising order."""
        return tuple(member.name for member in self.roster)


SignedLaunch = Signed[Launch]


def sign_order(
    key: SigningKey,
    operator: str,
    *,
    federation: str,
    terms: Terms,
    parameters: int,
    sites: Iterable[str],
    nonce: str | None = None,
    time: datetime | None = None,
) -> SignedLaunchOrder:
    """Sign an order to launch ``terms`` over ``sites``, now and with a fresh nonce unless they are given.

    Run by an operator.
    """
    order = LaunchOrder(
        federation=federation,
        terms=terms.digest,
        parameters=parameters,
        sites=tuple(sorted(sites)),
        operator=operator,
        key=key.public.text,
        time=f"{time or datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        nonce=secrets.token_hex(16) if nonce is None else nonce,
    )
    return SignedLaunchOrder.sign(key, order)


def verify_order(launch: Launch) -> LaunchOrder:
    """Verify that the operator whom ``launch`` names has ordered exactly this launch, and return the order.

    Run by a site, and by the coordinator before it signs the launch.

    Raises:
        WireError: it is not signed by the key that it names, or is for another launch; the first difference is named.
    """
    order = launch.order.statement
    try:
        launch.order.verify(PublicKey.from_text(order.key))
    except WireError:
        raise WireError("the launch order is not signed by the operator's key that it names") from None
    ordered = {
        "federation": (order.federation, launch.federation),
        "terms": (order.terms, launch.terms.digest),
        "number of parameters": (order.parameters, launch.parameters),
        "sites": (order.sites, launch.names),
        "nonce": (order.nonce, launch.nonce),
    }
    for what, (asked, launched) in ordered.items():
        if asked != launched:
            raise WireError(f"the operator '{order.operator}' ordered another launch: the {what} differ")
    return order
