"""A statement with its author's signature: the only form in which a claim is relayed beyond one message.

The signature covers a label and the statement's canonical bytes. A statement of one kind is therefore never valid
as another kind, and a party that relays it cannot change it.
"""

from typing import ClassVar, Generic, Self, TypeVar

from pydantic import Field

from privacy.base64url import decode_signature, encode_signature
from privacy.document import Document
from privacy.errors import WireError
from privacy.keys import PublicKey, SignedBytes, SigningKey
from privacy.labels import make_prefix


class Statement(Document):
    """The claim of a party. ``label`` names the kind and the version of the claim, and never changes."""

    label: ClassVar[str]

    def make_signing_bytes(self) -> bytes:
        """Return the bytes that the signature covers."""
        return make_prefix(self.label) + self.to_bytes()


S = TypeVar("S", bound=Statement)


class Signed(Document, Generic[S]):
    """A statement and its author's signature."""

    statement: S
    signature: str = Field(min_length=86, max_length=86)

    @classmethod
    def sign(cls, key: SigningKey, statement: S) -> Self:
        """Sign ``statement``."""
        return cls(statement=statement, signature=encode_signature(key.sign(statement.make_signing_bytes())))

    def verify(self, key: PublicKey) -> S:
        """Verify that the signature is by ``key``, and return the statement.

        Raises:
            WireError: it is not, or the signature is written in another way than :meth:`sign` writes it.
        """
        self.make_signed_bytes(key).verify()
        return self.statement

    def make_signed_bytes(self, key: PublicKey) -> SignedBytes:
        """Return what has to be verified to know that the signature is by ``key``.

        Raises:
            WireError: the signature is written in another way than :meth:`sign` writes it.
        """
        return SignedBytes(key, decode_signature(self.signature, WireError), self.statement.make_signing_bytes())
