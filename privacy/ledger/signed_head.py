"""What others have seen of a ledger: its signed head, and a witness's signature that it has seen it.

A chain cannot show that its end was cut off, or that the whole ledger was put back to an older copy. So the head of a
site's ledger rides in every reply that carries work; the coordinator signs what it has seen and sends that back in its
next request. The site writes it down (``checkpoint``) and refuses to work if it is not its own ledger's.

A head also says what was spent and set aside, so that a ledger lost after its last backup can be taken up again with
nothing forgotten (``recover``).
"""

from typing import Annotated, ClassVar

from pydantic import Field

from privacy import labels
from privacy.document import Document
from privacy.errors import LedgerError, WireError
from privacy.keys import PublicKey, SigningKey
from privacy.signed import Signed, Statement
from privacy.study import Name

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
KeyText = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Number = Annotated[int, Field(ge=1, le=2**53 - 1)]
Amount = Annotated[int, Field(ge=0)]


class GrantTotals(Document):
    """One grant, and what of it was spent and set aside, in nano units at its order."""

    epsilon: float
    delta: float
    order: int
    spent: Amount
    set_aside: Amount


class AccountTotals(Document):
    """One population's grants, in their order."""

    population: Name
    protected: bool
    held_out_protected: bool
    grants: tuple[GrantTotals, ...]


class LedgerHead(Statement):
    """Where a site's ledger stands. Signed by the site."""

    label: ClassVar[str] = labels.LEDGER_HEAD

    site: Name
    number: Number
    hash: Digest
    time: Time
    recovered: Digest | None
    """The hash of the lost head that this ledger has taken over, if it was ever restored."""
    accounts: tuple[AccountTotals, ...]


class Seen(Statement):
    """A witness has seen this head of this site's ledger. Signed by the witness."""

    label: ClassVar[str] = labels.COUNTERSIGNATURE

    witness: Name
    site: Name
    number: Number
    hash: Digest
    head: Digest
    """Over the whole :class:`LedgerHead`, totals included."""


class Countersigned(Document):
    """A head, and the proof that a witness has seen it."""

    head: Signed[LedgerHead]
    seen: Signed[Seen]

    @classmethod
    def sign(cls, key: SigningKey, witness: str, head: Signed[LedgerHead]) -> "Countersigned":
        """Countersign ``head``, whose own signature the witness has checked."""
        ledger = head.statement
        seen = Seen(witness=witness, site=ledger.site, number=ledger.number, hash=ledger.hash, head=ledger.digest)
        return cls(head=head, seen=Signed[Seen].sign(key, seen))

    def verify(self, site: PublicKey, witness: PublicKey) -> LedgerHead:
        """The head, once both signatures are seen to be right and to be about the same head.

        Raises:
            LedgerError: they are not.
        """
        try:
            self.head.verify(site)
        except WireError as error:
            raise LedgerError(f"the countersigned head cannot be believed: {error}") from None
        return self.verify_witness(witness)

    def verify_witness(self, witness: PublicKey) -> LedgerHead:
        """The head, whose own signature was checked, once the witness's is seen to be right and over it.

        Raises:
            LedgerError: it is not.
        """
        head = self.head.statement
        try:
            seen = self.seen.verify(witness)
        except WireError as error:
            raise LedgerError(f"the countersigned head cannot be believed: {error}") from None
        if (seen.site, seen.number, seen.hash, seen.head) != (head.site, head.number, head.hash, head.digest):
            raise LedgerError("the countersignature is over another head")
        return head
