"""Keep invitations, and the requests that came with them, until a person admits or refuses each.

::

    invitations.json   by name: role, contact, the token's digest, the end, and the request that came

* An invitation is for one name and one request: the first request with its token is the one. The same request may
  come again; another one with the same token is refused, and the operator is told.
* The token is kept as a digest only.
* A new invitation for a name replaces the earlier one, and the request that came with it.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from privacy.client_certificate import Role
from privacy.document import Document, read_document
from privacy.errors import FederationError, RefusedCallError, WireError
from privacy.fields import Contact, Digest
from privacy.files import replace_file
from privacy.keys import PublicKey
from privacy.protocol.enrolment import SignedAdmission, SignedJoinRequest, format_fingerprint
from privacy.protocol.invitation import hash_token
from privacy.study import Name


class Invited(Document):
    """One invitation, and what became of it."""

    role: Role
    contact: Contact
    token: Digest
    expires: datetime.datetime
    request: SignedJoinRequest | None = None
    others: int = 0
    """How many other requests came with the same token: somebody else has the invitation."""
    admission: SignedAdmission | None = None


class WaitingRequest(Document):
    """Who is invited and not admitted yet, and the request that has come, if one has."""

    name: Name
    role: Role
    contact: Contact
    """Whom the operator has invited; the request says its own."""
    expires: datetime.datetime
    expired: bool
    others: int
    request: SignedJoinRequest | None

    @property
    def fingerprint(self) -> str | None:
        """What two people read to each other about the request; None while none has come."""
        return None if self.request is None else format_fingerprint(self.request.statement)


class InvitationList(Document):
    """The contents of ``invitations.json``."""

    invited: dict[Name, Invited] = Field(default_factory=dict)


class KnownTokens:
    """Tells whether a token is one of an invitation; reads the file again only when it has changed."""

    def __init__(self, invitations: "Invitations") -> None:
        self._invitations = invitations
        self._version: tuple[int, int, int] | None = None
        self._digests: frozenset[str] = frozenset()

    def find(self, token: str) -> str | None:
        """Return the digest of ``token`` if an invitation has it.

        Raises:
            FederationError: the file cannot be used.
        """
        version = self._invitations.read_version()
        if version != self._version:
            self._digests = frozenset(each.token for each in self._invitations.read().values())
            self._version = version
        digest = hash_token(token)
        return digest if digest in self._digests else None


@dataclass(frozen=True)
class Invitations:
    """The invitations of a federation, in its ``folder``."""

    folder: Path

    def read(self) -> dict[str, Invited]:
        """Read all invitations, by name.

        Raises:
            FederationError: the file cannot be used.
        """
        if not self._path.exists():
            return {}
        return read_document(self._path, InvitationList, FederationError, "restore it from your backup").invited

    def read_version(self) -> tuple[int, int, int] | None:
        """Read what changes whenever the file does; None without one."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def add(self, name: str, invited: Invited) -> None:
        """Store an invitation; it replaces an earlier one of the same name."""
        self._write({**self.read(), name: invited})

    def remove(self, name: str) -> None:
        """Remove the invitation of ``name``, if there is one."""
        self._write({other: each for other, each in self.read().items() if other != name})

    def require_request(self, name: str) -> Invited:
        """Return the invitation of ``name`` whose request has come.

        Raises:
            FederationError: there is none, or no request has come.
        """
        invited = self.read().get(name)
        if invited is None:
            raise FederationError(f"'{name}' is not invited; invite it with: consilium invite {name} --contact ...")
        if invited.request is None:
            raise FederationError(f"'{name}' is invited, and no request of it has come yet")
        return invited

    def receive(self, token: str, signed: SignedJoinRequest, now: datetime.datetime) -> Invited:
        """Take the request that came with a token.

        Raises:
            RefusedCallError: no invitation has this token, it ran out, it was used by another request, or the request
                is not the one it invites.
        """
        name, invited = self._find(token)
        if invited.admission is None and now > invited.expires:
            raise RefusedCallError(
                f"the invitation of '{name}' ran out on {invited.expires:%Y-%m-%d %H:%M} UTC; ask for another"
            )
        try:
            request = signed.verify(PublicKey.from_text(signed.statement.identity))
            request.require_node_key()
        except WireError as error:
            raise RefusedCallError(f"the join request is damaged: {error}") from None
        if (request.name, request.role) != (name, invited.role):
            raise RefusedCallError(
                f"this invitation is for the {invited.role} '{name}', the request is for another"
            )
        if invited.request is not None and invited.request != signed:
            self.add(name, invited.model_copy(update={"others": invited.others + 1}))
            raise RefusedCallError(
                "this invitation was used by another request; if that was not you, tell the operator, and ask for "
                "another invitation"
            )
        if invited.request is None:
            invited = invited.model_copy(update={"request": signed})
            self.add(name, invited)
        return invited

    def collect(self, token: str) -> Invited:
        """Return the invitation with this token.

        Raises:
            RefusedCallError: there is none.
        """
        return self._find(token)[1]

    def _find(self, token: str) -> tuple[str, Invited]:
        digest = hash_token(token)
        for name, invited in self.read().items():
            if invited.token == digest:
                return name, invited
        raise RefusedCallError(
            "no invitation has this token; it was replaced or refused: ask the operator for another"
        )

    def _write(self, invited: dict[str, Invited]) -> None:
        replace_file(self._path, InvitationList(invited=invited).to_bytes(), FederationError)

    @property
    def _path(self) -> Path:
        return self.folder / "invitations.json"
