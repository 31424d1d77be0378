"""An invitation to a federation: all that a new site or person needs to reach it, and to recognise it.

* The operator hands it over by e-mail or on paper. It holds a token that can be used once, and until a date.
* Whoever reads it may send a request in its place, so that a request is admitted only after two people have read its
  fingerprint to each other (``privacy/protocol/enrolment.py``).
* It names the federation's authority and the coordinator's key. No public certificate authority is trusted.
* Its text is one long word, in which blanks and line ends of a mail program change nothing.
"""

import base64
import binascii
import datetime
import hashlib
import secrets
import sys
import zlib
from pathlib import Path
from typing import Final

from pydantic import Field

from privacy.address import Address
from privacy.canonical import from_canonical
from privacy.client_certificate import Role
from privacy.document import Document, parse
from privacy.errors import Error, WireError
from privacy.fields import KeyText
from privacy.protocol.enrolment import Pem
from privacy.study import Name, SiteName

_PREFIX: Final = "consilium-invitation-1-"
_TOKEN_BYTES: Final = 24
_MAX_BYTES: Final = 20_000
_LONGEST_PATH: Final = 250  # characters; an invitation is longer


class Invitation(Document):
    """What an invitation says."""

    federation: Name
    address: Address
    name: SiteName
    role: Role
    token: str = Field(pattern=r"^[A-Za-z0-9_-]{32}$")
    expires: datetime.datetime
    coordinator: KeyText
    authority: Pem

    @property
    def authority_digest(self) -> str:
        """SHA-256 of the authority's certificate, in hexadecimal."""
        return hashlib.sha256(self.authority.encode("ascii")).hexdigest()

    def to_text(self) -> str:
        """Write the invitation as one word."""
        packed = zlib.compress(self.to_bytes(), 9)
        return _PREFIX + base64.urlsafe_b64encode(packed).decode("ascii").rstrip("=")

    @classmethod
    def from_text(cls, text: str, error: type[Error]) -> "Invitation":
        """Parse what :meth:`to_text` wrote, however a mail program has wrapped it.

        Raises:
            error: it is no invitation, or a part of it is missing.
        """
        word = "".join(text.split())
        try:
            if not word.startswith(_PREFIX):
                raise ValueError
            body = word.removeprefix(_PREFIX)
            inflate = zlib.decompressobj()
            data = inflate.decompress(base64.b64decode(body + "=" * (-len(body) % 4), b"-_", True), _MAX_BYTES)
            if not inflate.eof:
                raise ValueError
            value = from_canonical(data)
        except (ValueError, binascii.Error, zlib.error, WireError):
            raise error(
                f"expected an invitation ({_PREFIX}...), got something else or a part of one; copy the whole text that "
                "'consilium invite' printed"
            ) from None
        return parse(value, cls, error, "the invitation")


def read_invitation(given: str, error: type[Error]) -> Invitation:
    """Read an invitation that a person gives as its text, as a file that holds it, or as ``-``: on standard input.

    Other users of the machine see the words of a command that runs (``ps``), and so the token of a text.

    Raises:
        error: the file cannot be read, or it is no invitation.
    """
    path = Path(given)
    try:
        if given == "-":
            text = sys.stdin.read(2 * _MAX_BYTES)
        else:
            text = path.read_text(encoding="utf-8") if len(given) < _LONGEST_PATH and path.is_file() else given
    except (OSError, UnicodeDecodeError):
        raise error(f"{path}: cannot be read as text") from None
    return Invitation.from_text(text, error)


def make_token() -> str:
    """Make the secret of an invitation: 24 random bytes as 32 characters."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def hash_token(token: str) -> str:
    """Return the digest by which the coordinator recognises a token, without keeping it."""
    return hashlib.sha256(token.encode("utf-8")).hexdigest()
