"""The launch of a study: its terms and its roster, signed by the coordinator. A site admits or refuses it.

The roster names every invited site with its identity key. The coordinator's signature does not protect against the
coordinator: a site compares each member with the keys that its own data protection officer has pinned.
"""

from typing import ClassVar, Final, Self

from pydantic import Field, model_validator

from privacy import labels
from privacy.document import Document
from privacy.fields import KeyText
from privacy.signed import Signed, Statement
from privacy.study import MAX_SITES, Name, SiteName, Terms

MAX_LAUNCH_BYTES: Final = 2 << 20
"""Half of the largest body of a message (``privacy/protocol/envelope.py``)."""


class Member(Document):
    """One invited site and its identity key."""

    name: SiteName
    identity: KeyText


class Launch(Statement):
    """One study of one federation. ``nonce`` makes two launches of the same terms different."""

    label: ClassVar[str] = labels.LAUNCH

    federation: Name
    terms: Terms
    roster: tuple[Member, ...] = Field(min_length=1, max_length=MAX_SITES)
    parameters: int = Field(ge=1, le=2_000_000_000)
    """Number of shared parameters of the model: it gives the sealed vector's shape, and every site checks it."""
    nonce: str = Field(pattern=r"^[0-9a-f]{32}$")

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

    @property
    def study(self) -> str:
        """The study's identifier: the terms' name and the first 8 digits of the launch's digest."""
        return f"{self.terms.name}-{self.digest[:8]}"

    @property
    def names(self) -> tuple[str, ...]:
        """The invited sites, in rising order."""
        return tuple(member.name for member in self.roster)


SignedLaunch = Signed[Launch]
