"""The folder of an operator or auditor at another machine: their keys, and where the coordinator is.

::

    invitation.json   what the operator handed over (0600), until the admission has come
    admission.json    the coordinator's answer
    identity.key      Ed25519; signs every call that changes something
    tls.pem           TLS key and certificate (privacy/client_certificate.py)
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from privacy.client_certificate import CredentialFiles, Subject
from privacy.control.channel import Caller, ControlClient
from privacy.control.joining import collect_admission, deliver_request, require_ours, require_valid
from privacy.document import read_document
from privacy.errors import FederationError
from privacy.files import create_folder, replace_file
from privacy.keys import SigningKey
from privacy.protocol.enrolment import (
    Admission,
    JoinRequest,
    SignedAdmission,
    SignedJoinRequest,
    format_fingerprint,
)
from privacy.protocol.invitation import Invitation
from privacy.study import Terms
from privacy.study.launch import SignedLaunchOrder, sign_order


@dataclass(frozen=True)
class Profile:
    """A profile's folder. Reading what is missing or damaged raises :class:`FederationError`."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, invitation: Invitation) -> "Profile":
        """Make a profile for whom ``invitation`` invites: the keys, and the invitation.

        Raises:
            FederationError: the invitation ran out, or the folder is not empty or cannot be written.
        """
        require_valid(invitation, datetime.datetime.now(datetime.UTC), FederationError)
        with create_folder(folder, FederationError):
            SigningKey.generate().save(folder / "identity.key")
            replace_file(folder / "invitation.json", invitation.to_bytes(), FederationError)
        return cls(folder)

    @property
    def is_one(self) -> bool:
        """Whether the folder is a profile's."""
        return (self.folder / "invitation.json").exists() or (self.folder / "admission.json").exists()

    @property
    def has_joined(self) -> bool:
        """Whether the admission has come."""
        return (self.folder / "admission.json").exists()

    def deliver(self, contact: str) -> tuple[str, str]:
        """Send the join request; return its fingerprint, and the one that the coordinator has received.

        Raises:
            Error: the coordinator refuses it, or cannot be reached.
        """
        request = self._make_request(contact)
        signed = SignedJoinRequest.sign(self._load_identity(), request)
        replace_file(self.folder / "request.json", signed.to_bytes(), FederationError)
        return format_fingerprint(request), deliver_request(self._load_invitation(), signed)

    def collect(self, wait_s: float, tell: Callable[[str], None]) -> bool:
        """Wait for the admission and store it; return whether it has come within ``wait_s``.

        Raises:
            Error: it is not ours, or the coordinator refuses.
        """
        invitation, request = self._load_invitation(), self._read_request()
        signed = collect_admission(invitation, request, wait_s, FederationError, tell)
        if signed is None:
            return False
        admission = require_ours(signed, invitation, request, FederationError)
        subject = Subject(admission.federation, admission.role, admission.name)
        self._credentials.accept(admission.certificate, subject, FederationError)
        replace_file(self.folder / "admission.json", signed.to_bytes(), FederationError)
        (self.folder / "invitation.json").unlink()
        return True

    def load_admission(self) -> Admission:
        """Load the coordinator's answer to the join request."""
        path = self.folder / "admission.json"
        if not path.exists():
            raise FederationError(
                f"{self.folder}: not admitted yet; continue with: consilium join --dir {self.folder}"
            )
        return read_document(path, SignedAdmission, FederationError, "join again").statement

    def sign_launch(self, terms: Terms, parameters: int, sites: list[str]) -> SignedLaunchOrder:
        """Sign the order to launch ``terms`` over ``sites`` in this person's name."""
        admission = self.load_admission()
        return sign_order(
            self._load_identity(),
            admission.name,
            federation=admission.federation,
            terms=terms,
            parameters=parameters,
            sites=sites,
        )

    def connect(self) -> ControlClient:
        """Make the client that calls in this person's name; renew the certificate if it is due.

        Raises:
            FederationError, KeyFileError: the profile cannot be used.
            Error: the certificate cannot be renewed.
        """
        admission, identity = self.load_admission(), self._load_identity()
        authority = admission.ca_certificate.encode("ascii")
        caller = Caller(admission.federation, admission.name, identity)
        credential = self._credentials.load()
        client = ControlClient.remote(admission.control, authority, credential, caller)
        if not credential.is_due(datetime.datetime.now(datetime.UTC)):
            return client
        renewed = client.call("Renew", signing_request=self._credentials.make_request(admission.name))
        subject = Subject(admission.federation, admission.role, admission.name)
        self._credentials.accept(renewed["certificate"], subject, FederationError)
        client.close()
        return ControlClient.remote(admission.control, authority, self._credentials.load(), caller)

    @property
    def _credentials(self) -> CredentialFiles:
        return CredentialFiles(self.folder)

    def _load_identity(self) -> SigningKey:
        return SigningKey.load(self.folder / "identity.key")

    def _load_invitation(self) -> Invitation:
        return read_document(self.folder / "invitation.json", Invitation, FederationError, "ask for another one")

    def _read_request(self) -> JoinRequest:
        return read_document(
            self.folder / "request.json", SignedJoinRequest, FederationError, "join again"
        ).statement

    def _make_request(self, contact: str) -> JoinRequest:
        invitation = self._load_invitation()
        if (self.folder / "request.json").exists():
            return self._read_request()
        return JoinRequest(
            name=invitation.name,
            role=invitation.role,
            identity=self._load_identity().public.text,
            tls_request=self._credentials.make_request(invitation.name),
            coordinator=invitation.coordinator,
            authority=invitation.authority_digest,
            contact=contact,
        )
