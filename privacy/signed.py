"""A statement with its author's signature: the only form in which a claim travels further than one message.

The signature covers a label and the statement's canonical bytes, so a statement of one kind never passes for
another, and whoever relays it changes nothing.
"""

import base64
import binascii
from typing import ClassVar, Generic, Self, TypeVar

from pydantic import Field

from privacy.document import Document
from privacy.errors import WireError
from privacy.keys import PublicKey, SigningKey
from privacy.labels import make_prefix


class Statement(Document):
    """What a party claims. ``label`` names the kind and version of claim, once for all."""

    label: ClassVar[str]

    def make_signing_bytes(self) -> bytes:
        """The bytes that a signature covers."""
        return make_prefix(self.label) + self.to_bytes()


S = TypeVar("S", bound=Statement)


class Signed(Document, Generic[S]):
    """A statement and the signature of whoever makes it."""

    statement: S
    signature: str = Field(min_length=86, max_length=86)

    @classmethod
    def sign(cls, key: SigningKey, statement: S) -> Self:
        """Sign ``statement``."""
        return cls(statement=statement, signature=_encode_signature(key.sign(statement.make_signing_bytes())))

    def verify(self, key: PublicKey) -> S:
        """The statement, once its signature is seen to be by ``key``.

        Raises:
            WireError: it is not.
        """
        key.verify(_decode_signature(self.signature), self.statement.make_signing_bytes())
        return self.statement


def _encode_signature(signature: bytes) -> str:
    return base64.urlsafe_b64encode(signature).decode("ascii").rstrip("=")


def _decode_signature(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "==")
    except (ValueError, binascii.Error):
        raise WireError("a signature is not written in base64url") from None
