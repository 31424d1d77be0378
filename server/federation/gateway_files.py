"""Write the folder that is all a gateway sees: the authority, its own certificate, and the revoked certificates.

::

    gateway/ca.crt        the federation's authority
    gateway/gateway.crt   server certificate for the public host, and client certificate for the coordinator's ports
    gateway/gateway.key   its key
    gateway/crl.pem       revoked client certificates

The gateway reads these files again when one of them changes. It runs as a user of its own, who is in the group of the
coordinator's: the group may read this folder (0750) and its files (0640). The federation's folder around it stays 0700,
so that the group reaches this one alone, and only where it is mounted elsewhere for the gateway.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privacy.client_certificate import RENEW_DAYS, Role, Subject
from privacy.errors import FederationError
from privacy.files import replace_file
from server.federation.certificates import TlsFiles, make_general_names
from server.federation.client_certificates import RevokedCertificate, issue_for_key, make_revocation_list

_FOLDER_MODE: Final = 0o750
_FILE_MODE: Final = 0o640


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
            self.folder.mkdir(exist_ok=True)
            self.folder.chmod(_FOLDER_MODE)
        except OSError as error:
            raise FederationError(f"{self.folder}: cannot be made: {error.strerror}") from None
        authority = files.ca.read_bytes()
        if not (self.folder / "ca.crt").exists() or (self.folder / "ca.crt").read_bytes() != authority:
            self._replace("ca.crt", authority)
        self._replace("crl.pem", make_revocation_list(files, revoked, now))
        hosts = tuple(hosts)
        if self._is_due(hosts, now):
            key = ec.generate_private_key(ec.SECP256R1())
            subject = Subject(federation, Role.GATEWAY, "gateway")
            issued = issue_for_key(files, key.public_key(), subject, now, hosts)
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            self._replace("gateway.key", pem)
            self._replace("gateway.crt", issued.pem.encode("ascii"))
        for name in ("ca.crt", "crl.pem", "gateway.key", "gateway.crt"):  # a restored folder is its owner's alone
            (self.folder / name).chmod(_FILE_MODE)

    def _replace(self, name: str, data: bytes) -> None:
        replace_file(self.folder / name, data, FederationError, _FILE_MODE)

    def read_certificate(self) -> x509.Certificate | None:
        """Read the gateway's present certificate; None if there is none that can be read."""
        try:
            return x509.load_pem_x509_certificate((self.folder / "gateway.crt").read_bytes())
        except (OSError, ValueError):
            return None

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
