"""Signatures of ledger entries: what is signed, under which label, and the proof that a new key is held."""

from typing import Final, NamedTuple

from privacy import labels
from privacy.base64url import decode_signature, encode_signature
from privacy.canonical import compute_sha256
from privacy.errors import Error, LedgerError
from privacy.keys import PublicKey, SigningKey
from privacy.ledger.entries import Entry, KeyChange

FIRST: Final = "0" * 64  # what the first entry names as the entry before it
LABEL: Final = labels.make_prefix(labels.LEDGER_ENTRY)
_KEY_LABEL: Final = labels.make_prefix(labels.LEDGER_KEY)


class Head(NamedTuple):
    """Where a ledger stands: how many entries it has, and the SHA-256 of the last."""

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


def sign(entry: Entry, key: SigningKey) -> SignedEntry:
    """Write ``entry`` down and sign it. Run by a site."""
    data = entry.to_bytes()
    return SignedEntry(data, key.sign(LABEL + data))


def verify_signature(signed: SignedEntry, key: PublicKey) -> None:
    """Accept the signature of ``key``.

    Raises:
        LedgerError: it is not its signature over these bytes.
    """
    try:
        key.verify(signed.signature, LABEL + signed.entry)
    except Error:
        raise LedgerError(f"the signature is not by the key {key.typed} over these bytes") from None


def sign_key_proof(key: SigningKey, head: Head) -> str:
    """What ``key`` signs to come into use after ``head``."""
    return encode_signature(key.sign(_KEY_LABEL + head.hash.encode("ascii")))


def verify_key_proof(body: KeyChange, head: Head) -> PublicKey:
    """The key that comes into use after ``head``.

    Raises:
        LedgerError: it has not signed that head.
    """
    key = PublicKey.from_text(body.key)
    try:
        key.verify(decode_signature(body.proof), _KEY_LABEL + head.hash.encode("ascii"))
    except Error:
        raise LedgerError(
            f"the key {key.typed} has not signed this ledger's head, so nobody shows that it exists"
        ) from None
    return key
