"""Prove to the federation's servers who calls: a TLS key, and a certificate that the federation's authority issued.

* A party makes its key itself; a signing request (PKCS #10, RFC 2986) leaves, the key does not.
* A certificate names its owner as the URI ``consilium://FEDERATION/ROLE/NAME``.
* Key and certificate are one file, ``tls.pem`` (0600), and are replaced together. The next key waits in
  ``tls.key.next`` until its certificate has come, so that an interruption loses neither.
* A certificate has a life of 90 days and is renewed 30 days before its end.
"""

import datetime
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from privacy.errors import Error, KeyFileError, WireError
from privacy.files import replace_file
from privacy.keys import read_secret, write_secret

CLIENT_DAYS: Final = 90
RENEW_DAYS: Final = 30
MAX_PEM_CHARACTERS: Final = 4000
_SUBJECT: Final = re.compile(r"consilium://([a-z0-9-]+)/([a-z]+)/([a-z0-9-]+)")


class Role(StrEnum):
    """What a party may do in a federation (``privacy/control/calls.py``)."""

    SITE = "site"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    GATEWAY = "gateway"


@dataclass(frozen=True)
class Subject:
    """The owner of a certificate."""

    federation: str
    role: Role
    name: str

    @property
    def uri(self) -> str:
        """The owner as a certificate names it."""
        return f"consilium://{self.federation}/{self.role}/{self.name}"


def read_subject(certificate: x509.Certificate) -> Subject:
    """Read whom a certificate is for.

    Raises:
        WireError: it names no party of a federation.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [_SUBJECT.fullmatch(uri) for uri in names.get_values_for_type(x509.UniformResourceIdentifier)]
    except (ValueError, x509.ExtensionNotFound):
        found = []
    if len(found) != 1 or found[0] is None or found[0][2] not in set(Role):
        raise WireError("expected a certificate with one name consilium://FEDERATION/ROLE/NAME, got another one")
    return Subject(found[0][1], Role(found[0][2]), found[0][3])


def read_certificate(pem: str) -> x509.Certificate:
    """Parse one certificate in PEM form.

    Raises:
        WireError: it is none.
    """
    try:
        return x509.load_pem_x509_certificate(pem.encode("ascii"))
    except ValueError:
        raise WireError("expected a certificate in PEM form, got something else") from None


def read_issuer(der: bytes) -> str | None:
    """Read who issued a certificate, for a message: one line of printable text; None if it is no certificate."""
    try:
        issuer = x509.load_der_x509_certificate(der).issuer
        text = issuer.rfc4514_string()
    except ValueError:
        return None
    return "".join(each if each.isprintable() else "?" for each in text)[:200]


def read_signing_request(pem: str) -> ec.EllipticCurvePublicKey:
    """Return the public key of a signing request, whose owner has proved to hold the private half.

    What the request says beside the key does not count: the authority decides the names.

    Raises:
        WireError: it is no signing request for a P-256 key, or not signed by that key.
    """
    try:
        request = x509.load_pem_x509_csr(pem.encode("ascii"))
        key = request.public_key()
        valid = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        key, valid = None, False
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise WireError("expected a certificate signing request for a P-256 key, signed by that key, in PEM form")
    return key


@dataclass(frozen=True)
class Credential:
    """A TLS key and its certificate, both PEM."""

    key: bytes
    certificate: bytes

    @property
    def ends(self) -> datetime.datetime:
        """When the certificate runs out."""
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc

    def is_due(self, now: datetime.datetime) -> bool:
        """Return whether it is time to renew the certificate."""
        return now + datetime.timedelta(days=RENEW_DAYS) > self.ends


@dataclass(frozen=True)
class CredentialFiles:
    """The TLS key and certificate of a party, in its ``folder``."""

    folder: Path

    @property
    def path(self) -> Path:
        """The file of key and certificate."""
        return self.folder / "tls.pem"

    @property
    def next_key(self) -> Path:
        """The file of a key whose certificate has not come yet."""
        return self.folder / "tls.key.next"

    def make_request(self, name: str) -> str:
        """Make a signing request for the next key, which is made if there is none; return it as PEM.

        Raises:
            KeyFileError: the key cannot be written or read.
        """
        if not self.next_key.exists():
            write_secret(self.next_key, _encode_key(ec.generate_private_key(ec.SECP256R1())))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject)
        signed = request.sign(_load_key(self.next_key), hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode("ascii")

    def accept(self, certificate: str, subject: Subject, error: type[Error]) -> None:
        """Store the certificate of the next key beside it; the key becomes the present one.

        The same certificate may come twice: it is then stored already.

        Raises:
            error: the certificate is for another owner or another key, or cannot be stored.
            KeyFileError: the key cannot be read.
        """
        try:
            parsed = read_certificate(certificate)
            owner = read_subject(parsed)
        except WireError as problem:
            raise error(f"the certificate that came cannot be used: {problem}; ask for another one") from None
        if owner != subject:
            raise error(
                f"the certificate that came is for {owner.uri}, expected {subject.uri}; ask for another one"
            )
        pem = parsed.public_bytes(serialization.Encoding.PEM)
        if not self.next_key.exists() and self.path.exists() and pem == self.load().certificate:
            return
        if not self.next_key.exists() or _load_key(self.next_key).public_key() != parsed.public_key():
            raise error(
                "the certificate that came is for another TLS key than this installation's; make a new request and "
                "have it admitted"
            )
        replace_file(self.path, read_secret(self.next_key) + pem, error)
        self.next_key.unlink()

    def load(self) -> Credential:
        """Load key and certificate.

        Raises:
            KeyFileError: they are missing, readable by others, or damaged.
        """
        data = read_secret(self.path)
        key, marker, certificate = data.partition(b"-----BEGIN CERTIFICATE-----")
        try:
            serialization.load_pem_private_key(key, password=None)
            x509.load_pem_x509_certificate(marker + certificate)
        except (ValueError, TypeError):
            raise KeyFileError(
                f"{self.path}: expected a TLS key and its certificate; restore it or join again"
            ) from None
        return Credential(key, marker + certificate)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read_secret(path), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyFileError(f"{path}: expected a P-256 private key in PEM form; remove it and join again")
    return key


def _encode_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
