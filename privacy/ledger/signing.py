"""Signatures of ledger entries and of the heads in them, and the proof that a site holds its new key.

Rules:

* The site signs a label, a zero byte and the entry's bytes with its identity (Ed25519).
* An entry names the SHA-256 of the entry before, and the first one names 64 zeros.
* A new key signs the hash of the ledger's head under a label of its own. This shows that the site holds the key.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from privacy import labels
from privacy.base64url import decode_signature, encode_signature
from privacy.canonical import compute_sha256
from privacy.errors import Error, LedgerError
from privacy.keys import PublicKey, SignedBytes, SigningKey
from privacy.ledger.entries import Body, Checkpoint, Entry, KeyChange, Recover
from privacy.ledger.rules import BrokenRuleError, Rule
from privacy.ledger.signed_head import LedgerHead

FIRST: Final = "0" * 64  # what the first entry names as the entry before it
LABEL: Final = labels.make_prefix(labels.LEDGER_ENTRY)
_KEY_LABEL: Final = labels.make_prefix(labels.LEDGER_KEY)


class Head(NamedTuple):
    """The head of a ledger: how many entries it has, and the SHA-256 of the last one."""

    number: int
    hash: str


class SignedEntry(NamedTuple):
    """An entry's bytes and the site's signature over them."""

    entry: bytes
    signature: bytes

    @property
    def hash(self) -> str:
        """SHA-256 of the entry's bytes, which the next entry names."""
        return compute_sha256(self.entry)

    def make_signed_bytes(self, key: PublicKey) -> SignedBytes:
        """Return what has to be verified to know that the signature is by ``key``."""
        return SignedBytes(key, self.signature, LABEL + self.entry)


def sign(entry: Entry, key: SigningKey) -> SignedEntry:
    """Write the bytes of ``entry`` and sign them.

    Run by a site.
    """
    data = entry.to_bytes()
    return SignedEntry(data, key.sign(LABEL + data))


def verify_signature(signed: SignedEntry, key: PublicKey) -> None:
    """Verify that the signature is by ``key``.

    Raises:
        LedgerError: it is not a signature of this key over these bytes.
    """
    try:
        signed.make_signed_bytes(key).verify()
    except Error:
        raise LedgerError(f"the signature is not by the key {key.typed} over these bytes") from None


def sign_key_proof(key: SigningKey, head: Head) -> str:
    """Sign the hash of ``head`` with ``key``, as the proof that the site holds this key."""
    return encode_signature(key.sign(_KEY_LABEL + head.hash.encode("ascii")))


def verify_key_proof(body: KeyChange, head: Head) -> PublicKey:
    """Verify the proof of a new key against ``head``, and return the key.

    Raises:
        LedgerError: the key has not signed that head.
    """
    key = PublicKey.from_text(body.key)
    try:
        key.verify(decode_signature(body.proof), _KEY_LABEL + head.hash.encode("ascii"))
    except Error:
        raise LedgerError(
            f"the key {key.typed} has not signed this ledger's head, so nobody shows that it exists"
        ) from None
    return key


def verify_seen_head(body: Checkpoint | Recover, site: str, keys: Sequence[PublicKey]) -> LedgerHead:
    """Verify the head that a witness has seen of the ledger of ``site``, signed by one of its ``keys``; return it.

    Raises:
        BrokenRuleError: it is of another ledger, or one of both signatures is wrong.
    """
    _require_own_head(body, site)
    head = body.countersigned.head
    for key in reversed(keys):
        try:
            head.verify(key)
        except Error:
            continue
        try:
            return body.countersigned.verify_witness(PublicKey.from_text(body.witness))
        except Error as error:
            raise BrokenRuleError(Rule.WITNESS, str(error)) from None
    raise BrokenRuleError(Rule.WITNESS, "the head that a witness has seen is not signed by this ledger's key")


def list_signed_bytes(signed: SignedEntry, body: Body, site: str, key: PublicKey) -> list[SignedBytes]:
    """List the signatures of a canonical entry and of a head in its ``body``, if ``key`` signs the ledger of ``site``.

    If they hold, then so does all that ``LedgerState.apply`` leaves out for a verified entry.

    Raises:
        Error: something else about the head is wrong.
    """
    found = [signed.make_signed_bytes(key)]
    if type(body) is Checkpoint or type(body) is Recover:  # to ask for an instance takes pydantic long
        _require_own_head(body, site)
        found += body.countersigned.list_signed_bytes(key, PublicKey.from_text(body.witness), signed.entry)
    return found


def _require_own_head(body: Checkpoint | Recover, site: str) -> None:
    seen = body.countersigned.head.statement.site
    if seen != site:
        raise BrokenRuleError(Rule.WITNESS, f"the head is of the ledger of '{seen}'")
