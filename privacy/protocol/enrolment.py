"""Enrolment by files passed by hand: a site's request goes out, the coordinator's admission comes back.

Both are public: keys that they name are public halves. Who carried the file is checked by people: the operator
compares the site's identity key, the site engineer the coordinator's, each over a channel of their own.
"""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from privacy import labels
from privacy.address import Address
from privacy.document import parse
from privacy.errors import Error
from privacy.exchanged_files import read_exchanged_document
from privacy.signed import Signed, Statement
from privacy.study import Name, SiteName
from privacy.study.launch import KeyText


class JoinRequest(Statement):
    """Run by a site: I am ``name``, these are my keys."""

    label: ClassVar[str] = labels.JOIN_REQUEST

    name: SiteName
    identity: KeyText
    node_key: str = Field(pattern=r"^ecdsa-sha2-nistp384 \S+$", max_length=400)


class Admission(Statement):
    """Run by the coordinator: the site ``name`` may connect here, and this is who I am."""

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
    """Read a request or an admission; its signature is still to be verified.

    Raises:
        error: the file cannot be read or is not of this ``kind``.
    """
    return parse(read_exchanged_document(path, error), kind, error, str(path))
