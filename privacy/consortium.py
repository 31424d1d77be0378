"""Believe peers by a consortium: a signed list of members, and signed revocations, instead of pins one by one.

* A consortium is a key that somebody holds offline, and who is not the coordinator. Sites pin this one key by hand.
* A list names all members with their identity keys. Lists are numbered: a higher number replaces a lower one whole,
  and a lower one is a rollback. After its last day nobody is believed by it any more.
* A revocation names a key that is not believed any more, whatever a list says, before or after. It holds for ever: a
  site keeps each that it has seen, and a list repeats all that its consortium has made.
* Days are UTC, and the last day counts. A site reads its own clock.

``docs/consortium.md`` shows the bytes. Whoever holds the consortium's key can make any key a member: it is one key,
with no threshold of several holders.
"""

from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from privacy import labels
from privacy.document import Document, make_text_field
from privacy.errors import WireError
from privacy.fields import KeyText, Name, SiteName
from privacy.keys import PublicKey
from privacy.sentence import Sentence
from privacy.signed import Signed, Statement

MAX_MEMBERS: Final = 1000
MAX_REVOKED: Final = 10_000


def _write_date(value: Any) -> Any:
    return value.isoformat() if type(value) is date else value  # YAML reads 2026-01-31 as a date


def _require_real_day(day: str) -> str:
    date.fromisoformat(day)  # the pattern alone would accept the 31st of February
    return day


Day = Annotated[
    str,
    BeforeValidator(_write_date),
    make_text_field(r"^\d{4}-\d\d-\d\d$", "a day, such as 2027-01-31"),
    AfterValidator(_require_real_day),
]
"""A day in UTC. Later days compare as greater."""


def _require_key(text: str) -> str:
    try:
        PublicKey.from_text(text)
    except WireError as error:
        raise ValueError(str(error)) from None
    return text


Identity = Annotated[KeyText, AfterValidator(_require_key)]


class Member(Document):
    """A site that the consortium vouches for, and its identity key, from its first to its last day."""

    name: SiteName
    identity: Identity
    valid_from: Day
    valid_until: Day

    @model_validator(mode="after")
    def _in_order(self) -> "Member":
        if self.valid_until < self.valid_from:
            raise ValueError(
                f"'{self.name}' is a member from {self.valid_from} until {self.valid_until}: no day at all"
            )
        return self


class Revocation(Statement):
    """A key that the consortium vouches for no more, for ever. Signed by the consortium."""

    label: ClassVar[str] = labels.CONSORTIUM_REVOCATION

    consortium: Name
    name: SiteName
    """The member that had the key."""
    identity: Identity
    day: Day
    reason: Sentence


class MemberList(Statement):
    """All members of a consortium. Signed by the consortium; the list with the highest number counts, alone."""

    label: ClassVar[str] = labels.CONSORTIUM_MEMBERS

    consortium: Name
    number: int = Field(ge=1, le=1 << 40)
    issued: Day
    valid_until: Day
    members: tuple[Member, ...] = Field(max_length=MAX_MEMBERS)
    revoked: tuple[Signed[Revocation], ...] = Field(max_length=MAX_REVOKED)
    """Every revocation that the consortium has made."""

    @model_validator(mode="after")
    def _consistent(self) -> "MemberList":
        if self.valid_until < self.issued:
            raise ValueError(f"the list is issued on {self.issued} and ends before, on {self.valid_until}")
        for what, values in (
            ("name", [member.name for member in self.members]),
            ("key", [member.identity for member in self.members]),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"two members have the same {what}")
        revoked = {each.statement.identity for each in self.revoked}
        if bad := next((member.name for member in self.members if member.identity in revoked), None):
            raise ValueError(f"the key of the member '{bad}' is revoked in the same list")
        return self


SignedList = Signed[MemberList]
SignedRevocation = Signed[Revocation]


def verify_revocation(signed: SignedRevocation, consortium: str, key: PublicKey) -> Revocation:
    """Verify that the consortium of this name and key has signed the revocation; return it.

    Raises:
        WireError: it has not.
    """
    if signed.statement.consortium != consortium:
        raise WireError(f"expected a revocation by '{consortium}', got one by '{signed.statement.consortium}'")
    return signed.verify(key)


def verify_list(signed: SignedList, consortium: str, key: PublicKey) -> MemberList:
    """Verify that the consortium of this name and key has signed the list and every revocation in it; return it.

    Raises:
        WireError: it has not.
    """
    statement = signed.statement
    if statement.consortium != consortium:
        raise WireError(f"expected a list of '{consortium}', got one of '{statement.consortium}'")
    for each in statement.revoked:
        verify_revocation(each, consortium, key)
    return signed.verify(key)


def merge_revocations(
    known: Iterable[SignedRevocation], further: Iterable[SignedRevocation]
) -> tuple[SignedRevocation, ...]:
    """Return all revocations, the first one of each key: one that is known is never replaced or removed."""
    merged: dict[str, SignedRevocation] = {}
    for each in (*known, *further):
        merged.setdefault(each.statement.identity, each)
    return tuple(merged.values())
