"""Enrolment by two files that people exchange: a site's join request, and the coordinator's admission.

* Both are public: they name only the public halves of keys.
* People check where a file comes from. The operator compares the site's identity key, and the site engineer
  compares the coordinator's, each over another channel.
"""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from privacy import labels
from privacy.address import Address
from privacy.document import parse
from privacy.errors import Error
from privacy.exchanged_files import read_exchanged_document
from privacy.fields import KeyText
from privacy.signed import Signed, Statement
from privacy.study import Name, SiteName


class JoinRequest(Statement):
    """A site's claim of its name and its public keys. Signed by the site."""

    label: ClassVar[str] = labels.JOIN_REQUEST

    name: SiteName
    identity: KeyText
    node_key: str = Field(pattern=r"^ecdsa-sha2-nistp384 \S+$", max_length=400)


class Admission(Statement):
    """The coordinator's permission for the site ``name`` to connect, with its address and key. Signed by it."""

    label: ClassVar[str] = labels.ADMISSION

    federation: Name
    name: Name
    identity: KeyText
    coordinator: KeyText
    address: Address
    ca_certificate: str = Field(max_length=20_000, pattern=r"^[\x20-\x7e\n]+$")


SignedJoinRequest = Signed[JoinRequest]
SignedAdmission = Signed[Admission]


def read_enrolment(path: Path, kind: type[Signed], error: type[Error]) -> Signed:  # type: ignore[type-arg]
    """Read a join request or an admission; its signature is not verified yet.

    Raises:
        error: the file cannot be read or is not of this ``kind``.
    """
    return parse(read_exchanged_document(path, error), kind, error, str(path))
