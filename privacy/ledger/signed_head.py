"""What others have seen of a ledger: its signed head, and a witness's signature over that head.

* A chain cannot show that its end was cut off, or that the whole ledger was replaced by an older copy. So every
  reply with work holds the head of the site's ledger. The coordinator signs the head and sends it back in its next
  request. The site records it (``checkpoint``), and refuses to work if this head is not in its ledger.
* A head also says what was spent and set aside. A ledger that is lost after its last backup can therefore be
  continued without losing what was spent (``recover``).
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Final

from pydantic import Field

from privacy import labels
from privacy.base64url import decode_signature
from privacy.canonical import compute_sha256
from privacy.document import Document
from privacy.errors import LedgerError, WireError
from privacy.fields import Digest
from privacy.keys import PublicKey, SignedBytes, SigningKey
from privacy.signed import Signed, Statement
from privacy.study import Name

Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Number = Annotated[int, Field(ge=1, le=2**53 - 1)]
Amount = Annotated[int, Field(ge=0)]

_HEAD_LABEL: Final = labels.make_prefix(labels.LEDGER_HEAD)
_SEEN_LABEL: Final = labels.make_prefix(labels.COUNTERSIGNATURE)
_BEFORE_HEAD: Final = b'"countersigned":{"head":{"signature":"'
_BETWEEN: Final = b'},"seen":{"signature":"'
_SIGNED: Final = 86 + len('","statement":')


class GrantTotals(Document):
    """One grant, and how much of it was spent and set aside, in nano units at its order."""

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
    """The head of a site's ledger, with its totals. Signed by the site."""

    label: ClassVar[str] = labels.LEDGER_HEAD

    site: Name
    number: Number
    hash: Digest
    time: Time
    recovered: Digest | None
    """The hash of the lost head that this ledger last took over; None if it was never restored."""
    accounts: tuple[AccountTotals, ...]


class Seen(Statement):
    """A witness's statement that it has seen this head of this site's ledger. Signed by the witness."""

    label: ClassVar[str] = labels.COUNTERSIGNATURE

    witness: Name
    site: Name
    number: Number
    hash: Digest
    head: Digest
    """Digest of the whole :class:`LedgerHead`, with its totals."""


def is_lost_and_taken_over(number: int, recovered: str | None, recoveries: Sequence[tuple[int, str]]) -> bool:
    """Return whether a ledger was restored after a head that it does not hold, and took over that head or a later one.

    Args:
        number: the number of the head.
        recovered: the hash of the last recovery before it; None if there was none.
        recoveries: number and hash of each lost head that the ledger has taken over, in order.
    """
    # only recoveries after the one that the head names can have lost it
    before = [None, *(hash_ for _, hash_ in recoveries)]
    if recovered not in before:
        return False
    following = recoveries[before.index(recovered) :]
    return bool(following) and number <= following[0][0]


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
        """Verify that both signatures are valid and for the same head; return the head.

        Raises:
            LedgerError: they are not.
        """
        try:
            self.head.verify(site)
        except WireError as error:
            raise LedgerError(f"the countersigned head cannot be believed: {error}") from None
        return self.verify_witness(witness)

    def verify_witness(self, witness: PublicKey) -> LedgerHead:
        """Verify the witness's signature over the head, whose own signature was checked before; return the head.

        Raises:
            LedgerError: the signature is wrong, or for another head.
        """
        try:
            self.seen.verify(witness)
        except WireError as error:
            raise LedgerError(f"the countersigned head cannot be believed: {error}") from None
        self._require_same_head(self.head.statement.digest)
        return self.head.statement

    def list_signed_bytes(self, site: PublicKey, witness: PublicKey, written: bytes) -> list[SignedBytes]:
        """List the two signatures that remain to be verified; everything else that :meth:`verify` verifies, is.

        Args:
            site: the key that must have signed the head.
            witness: the key that must have countersigned it.
            written: canonical JSON in which this document is the value of ``countersigned``, a key that it has once.

        Raises:
            WireError: a signature is written in another way than it is made.
            LedgerError: the countersignature is over another head.
        """
        head, seen = _cut_statements(written)
        self._require_same_head(compute_sha256(head))
        return [
            SignedBytes(site, decode_signature(self.head.signature, WireError), _HEAD_LABEL + head),
            SignedBytes(witness, decode_signature(self.seen.signature, WireError), _SEEN_LABEL + seen),
        ]

    def _require_same_head(self, digest: str) -> None:
        """Require that the witness has seen the head whose bytes have this digest."""
        head, seen = self.head.statement, self.seen.statement
        if (seen.site, seen.number, seen.hash, seen.head) != (head.site, head.number, head.hash, digest):
            raise LedgerError("the countersignature is over another head")


def _cut_statements(written: bytes) -> tuple[bytes, bytes]:
    """Cut the bytes of both statements out of canonical JSON with a :class:`Countersigned`.

    A canonical document holds the canonical bytes of each value in it, with its keys in their one order. What is
    looked for has quotation marks within, which no text in JSON has, and the statements have no key ``seen``; the
    second one has no braces within. So each is found where it is, and nowhere else.
    """
    before_head = written.index(_BEFORE_HEAD) + len(_BEFORE_HEAD) + _SIGNED
    after_head = written.index(_BETWEEN, before_head)
    before_seen = after_head + len(_BETWEEN) + _SIGNED
    return written[before_head:after_head], written[before_seen : written.index(b"}", before_seen) + 1]
