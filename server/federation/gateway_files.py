"""Write the folder that is all a gateway sees: the authority, its own certificate, and the revoked certificates.

::

    gateway/ca.crt        the federation's authority
    gateway/gateway.crt   server certificate for the public host, and client certificate for the coordinator's ports
    gateway/gateway.key   its key (0600)
    gateway/crl.pem       revoked client certificates

The gateway reads these files again when one of them changes.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privacy.client_certificate import RENEW_DAYS, Role, Subject
from privacy.errors import FederationError
from privacy.files import replace_file
from server.federation.certificates import TlsFiles, make_general_names
from server.federation.client_certificates import RevokedCertificate, issue_for_key, make_revocation_list


@dataclass(frozen=True)
class GatewayFiles:
    """The gateway's folder in a federation's folder."""

    folder: Path

    def write(
        self,
        files: TlsFiles,
        federation: str,
        hosts: Iterable[str],
        revoked: Iterable[RevokedCertificate],
        now: datetime.datetime,
    ) -> None:
        """Write the list of revoked certificates, and the gateway's certificate where it is missing or due.

        Run by the coordinator: when it starts, once a day, and when a certificate is revoked.

        Raises:
            FederationError, KeyFileError: a file cannot be written, or the authority cannot be used.
        """
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise FederationError(f"{self.folder}: cannot be made: {error.strerror}") from None
        authority = files.ca.read_bytes()
        if not (self.folder / "ca.crt").exists() or (self.folder / "ca.crt").read_bytes() != authority:
            replace_file(self.folder / "ca.crt", authority, FederationError)
        replace_file(self.folder / "crl.pem", make_revocation_list(files, revoked, now), FederationError)
        hosts = tuple(hosts)
        if self._is_due(hosts, now):
            key = ec.generate_private_key(ec.SECP256R1())
            subject = Subject(federation, Role.GATEWAY, "gateway")
            issued = issue_for_key(files, key.public_key(), subject, now, hosts)
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            replace_file(self.folder / "gateway.key", pem, FederationError)
            replace_file(self.folder / "gateway.crt", issued.pem.encode("ascii"), FederationError)

    def _is_due(self, hosts: tuple[str, ...], now: datetime.datetime) -> bool:
        """Return whether the gateway needs another certificate: none, another key's, other hosts, or soon out."""
        try:
            certificate = x509.load_pem_x509_certificate((self.folder / "gateway.crt").read_bytes())
            key = serialization.load_pem_private_key((self.folder / "gateway.key").read_bytes(), password=None)
            named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
            return True
        if key.public_key() != certificate.public_key() or any(
            each not in named for each in make_general_names(hosts)
        ):
            return True
        return now + datetime.timedelta(days=RENEW_DAYS) > certificate.not_valid_after_utc
