"""Enrol a site or a person: its join request, and the coordinator's admission. By the network or by two files.

* Both are public: they hold only the public halves of keys, and a certificate.
* A request that answers an invitation names the coordinator's key and the authority that the invitation named. The
  fingerprint that two people read to each other covers the whole request (:func:`format_fingerprint`): it differs if
  the invitation or the request was replaced on its way.
* Without an invitation, people compare the identity keys of both sides over another channel.
* A site proves that it holds its node key, too, when it joins and whenever it renews its certificate: the node key
  signs who is asking and for which TLS key (:class:`NodeKeyClaim`). A public node key that somebody has seen cannot be
  enrolled under another name.
"""

import hashlib
from pathlib import Path
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, model_validator

from privacy import labels
from privacy.address import Address
from privacy.client_certificate import MAX_PEM_CHARACTERS, Role
from privacy.document import parse
from privacy.errors import Error, WireError
from privacy.exchanged_files import read_exchanged_document
from privacy.fields import Contact, Digest, KeyText
from privacy.keys import NodeKey, convert_node_key_to_pem, sign_with_node_key, verify_node_signature
from privacy.labels import make_prefix
from privacy.signed import Signed, Statement
from privacy.study import Name, SiteName
from privacy.typed_keys import ALPHABET

Pem = Annotated[str, Field(max_length=MAX_PEM_CHARACTERS, pattern=r"^[\x20-\x7e\n]+$")]

NodeProof = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{128}$")]
"""A signature by a node key, in base64url."""

_FINGERPRINT_CHARACTERS: Final = 20
"""Five bits each: to find another request with the same 100 bits is out of reach."""
_GROUP: Final = 5


class NodeKeyClaim(Statement):
    """Who holds a node key, and beside which TLS key. Signed by the node key; not sent, since both sides know it."""

    label: ClassVar[str] = labels.NODE_KEY_PROOF

    name: SiteName
    identity: KeyText
    tls_request: Pem

    def prove(self, private: NodeKey) -> str:
        """Sign the claim. Run by a site."""
        return sign_with_node_key(private, self.make_signing_bytes())

    def verify(self, node_key: str, proof: str | None) -> None:
        """Verify that the holder of ``node_key`` has signed the claim. Run by the coordinator.

        Raises:
            WireError: ``node_key`` is none, there is no proof, or it is another key's or of another claim.
        """
        convert_node_key_to_pem(node_key)
        if proof is None:
            raise WireError("expected a proof by the node key that it names, got none")
        verify_node_signature(node_key, proof, self.make_signing_bytes())


class JoinRequest(Statement):
    """A party's claim of its name and its public keys. Signed by the party.

    Attributes:
        name: under which it wants to be enrolled.
        role: as what.
        identity: its Ed25519 key.
        node_key: of Flower's node authentication; a site's only.
        node_proof: by that key, of the :class:`NodeKeyClaim` of this request.
        tls_request: the signing request for its TLS certificate (PKCS #10, PEM).
        coordinator: the coordinator's identity key, as the invitation gave it.
        authority: SHA-256 of the authority's certificate (PEM) in the invitation.
        contact: whom to call about this installation.
    """

    label: ClassVar[str] = labels.JOIN_REQUEST

    name: SiteName
    role: Role = Role.SITE
    identity: KeyText
    node_key: str | None = Field(default=None, pattern=r"^ecdsa-sha2-nistp384 \S+$", max_length=400)
    node_proof: NodeProof | None = None
    tls_request: Pem
    coordinator: KeyText | None = None
    authority: Digest | None = None
    contact: Contact = ""

    @model_validator(mode="after")
    def _has_the_keys_of_its_role(self) -> Self:
        if self.role is Role.GATEWAY:
            raise ValueError("a gateway is not enrolled: the coordinator makes its certificate")
        if (self.node_key is None) is (self.role is Role.SITE):
            raise ValueError("node_key: a site has one, and nobody else")
        return self

    def require_node_key(self) -> None:
        """Verify that whoever made this request holds its node key, if it names one. Run by the coordinator.

        Raises:
            WireError: they have not proved it, or it is no node key.
        """
        if self.node_key is not None:
            claim = NodeKeyClaim(name=self.name, identity=self.identity, tls_request=self.tls_request)
            claim.verify(self.node_key, self.node_proof)


class Admission(Statement):
    """The coordinator's permission for ``name`` to connect, with its address, key and certificate. Signed by it."""

    label: ClassVar[str] = labels.ADMISSION

    federation: Name
    name: Name
    role: Role = Role.SITE
    identity: KeyText
    coordinator: KeyText
    address: Address
    """Where Flower's Fleet API is."""
    control: Address
    """Where the control plane is: the same behind a gateway."""
    ca_certificate: str = Field(max_length=20_000, pattern=r"^[\x20-\x7e\n]+$")
    certificate: Pem
    """The party's own TLS certificate, for the key of its request."""
    contact: Contact = ""
    """Whom to call about the coordinator."""


SignedJoinRequest = Signed[JoinRequest]
SignedAdmission = Signed[Admission]


def format_fingerprint(request: JoinRequest) -> str:
    """Format what two people read to each other about a join request: four groups of five characters."""
    digest = hashlib.sha256(make_prefix(labels.SPOKEN) + request.to_bytes()).digest()
    number = int.from_bytes(digest)
    characters = [ALPHABET[number >> (256 - 5 * (place + 1)) & 31] for place in range(_FINGERPRINT_CHARACTERS)]
    text = "".join(characters)
    return "-".join(text[place : place + _GROUP] for place in range(0, _FINGERPRINT_CHARACTERS, _GROUP))


def normalise_fingerprint(text: str) -> str:
    """Return a fingerprint as people type it without what makes no difference: capitals, blanks, hyphens, o and 0."""
    return "".join(text.split()).replace("-", "").lower().translate(str.maketrans("oil", "011"))


def read_enrolment(path: Path, kind: type[Signed], error: type[Error]) -> Signed:  # type: ignore[type-arg]
    """Read a join request or an admission; its signature is not verified yet.

    Raises:
        error: the file cannot be read or is not of this ``kind``.
    """
    return parse(read_exchanged_document(path, error), kind, error, str(path))
