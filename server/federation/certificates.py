"""The federation's certificate authority, by which sites recognise the coordinator's server.

* One EC P-256 authority per federation, valid for ten years, signs the certificates of servers and of members
  (``server/federation/client_certificates.py``), and no other authority (path length 0). Sites trust this authority
  alone, and no public one.
* A server certificate names ``localhost``, ``127.0.0.1``, ``::1`` and the names that the caller gives.
* Only the owner can read the key files (0600).
* A server certificate is renewed in time, automatically and with a new key. Sites trust the authority, and need
  nothing.
* The authority's certificate is renewed with the same key, before a server certificate could outlive it. Sites can
  use the earlier one until it expires, and must receive a new admission before.

Source: RFC 5280.
"""

import datetime
import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from privacy.errors import FederationError, KeyFileError
from privacy.files import replace_file
from privacy.keys import read_secret, write_secret

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 825
RENEW_DAYS: Final = 90
"""A server certificate is renewed this long before it expires."""
ALWAYS_NAMED: Final = ("localhost", "127.0.0.1", "::1")
_CLOCK_SKEW: Final = datetime.timedelta(minutes=10)  # valid from this much earlier: a site's clock may be behind


@dataclass(frozen=True)
class TlsFiles:
    """The paths of the authority and of the server certificate in a federation's folder."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The authority's certificate: public, every site has it."""
        return self.folder / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """The authority's private key: it never leaves the folder."""
        return self.folder / "ca.key"

    @property
    def certificate(self) -> Path:
        """The server's certificate."""
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        """The server's key."""
        return self.folder / "server.key"


def create_authority(folder: Path, federation: str, now: datetime.datetime | None = None) -> TlsFiles:
    """Create the authority of ``federation`` in ``folder``, valid from ``now`` on.

    Raises:
        KeyFileError: there is one already (it stays unchanged), or the folder cannot be written.
    """
    files = TlsFiles(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{federation[:40]} Consilium authority")])
    write_secret(files.ca_key, _encode_pem(key))
    files.ca.write_bytes(_make_authority_certificate(name, key, now or _read_clock()))
    return files


def renew_in_time(files: TlsFiles, names: Collection[str], now: datetime.datetime) -> list[str]:
    """Renew certificates that expire soon, are not valid yet, or lack ``names``; return a sentence for each.

    Run by the coordinator when it starts and once a day.

    Raises:
        FederationError: the authority's files do not belong together.
        KeyFileError: the authority's key is missing or readable by others.
    """
    said = []
    # A new server certificate must end before the authority does.
    authority, key = load_authority(files)
    if not authority.not_valid_before_utc <= now or now + make_days(SERVER_DAYS) > authority.not_valid_after_utc:
        replace_file(files.ca, _make_authority_certificate(authority.subject, key, now), FederationError)
        said.append(
            f"the authority's certificate ({_format_validity(authority)}) is renewed with the same key; before it "
            "runs out, hand every site a new admission: consilium admit REQUEST --out FILE"
        )
    wrong = _find_reason_to_renew(files, key, names, now)
    if wrong:
        issue_server_certificate(files, names, now)
        ends = _load_certificate(files.certificate).not_valid_after_utc
        said.append(
            f"the server's certificate {wrong}: a new one is valid until {ends:%Y-%m-%d}; sites need nothing"
        )
    return said


def _find_reason_to_renew(
    files: TlsFiles, authority_key: ec.EllipticCurvePrivateKey, names: Collection[str], now: datetime.datetime
) -> str:
    """Find the reason to renew the server's certificate; empty if there is none."""
    try:
        certificate = _load_certificate(files.certificate)
        key = serialization.load_pem_private_key(read_secret(files.key), password=None)
        shown = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        authority_key.public_key().verify(
            certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256())
        )
    except (OSError, ValueError, TypeError, KeyFileError, x509.ExtensionNotFound, InvalidSignature):
        return "cannot be used"
    if key.public_key() != certificate.public_key():
        return "is not that of its key"
    if missing := [name for name in names if _make_general_name(name) not in shown]:
        return f"does not name {', '.join(missing)}"
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC (is this clock right?)"
    if now > certificate.not_valid_after_utc:
        return f"ran out on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if now + make_days(RENEW_DAYS) > certificate.not_valid_after_utc:
        return f"runs out on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return ""


def _make_authority_certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime) -> bytes:
    """Make the authority's self-signed certificate, as PEM."""
    certificate = (
        make_builder(name, name, key.public_key(), now, now + make_days(AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(make_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def issue_server_certificate(
    files: TlsFiles, names: Iterable[str] = (), now: datetime.datetime | None = None
) -> None:
    """Issue the server certificate for ``names`` (host names or addresses) from ``now`` on; replace any other.

    Raises:
        FederationError: the authority's files do not belong together, or a certificate cannot contain a name.
        KeyFileError: the authority's key is missing or readable by others.
    """
    authority, authority_key = load_authority(files)
    now = now or _read_clock()
    ends = min(now + make_days(SERVER_DAYS), authority.not_valid_after_utc)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Consilium coordinator")])
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    certificate = (
        make_builder(subject, authority.subject, key.public_key(), now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(make_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(make_general_names(names)), critical=False)
        .add_extension(issuer_id, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    # After a crash between the two files, key and certificate do not match: renew_in_time then issues a new pair.
    replace_file(files.key, _encode_pem(key), FederationError)
    replace_file(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), FederationError)


def make_builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    """Begin a certificate for ``key``, valid from a little before ``now``, since other clocks may be behind."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(ends)
    )


def _read_clock() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def make_days(count: int) -> datetime.timedelta:
    """Return so many days."""
    return datetime.timedelta(days=count)


def _format_validity(certificate: x509.Certificate) -> str:
    return f"valid from {certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}"


def _load_certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def load_authority(files: TlsFiles) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Load the authority's certificate and key.

    Raises:
        FederationError: they cannot be read, or do not belong together.
        KeyFileError: the key is missing or readable by others.
    """
    try:
        certificate = _load_certificate(files.ca)
        key = serialization.load_pem_private_key(read_secret(files.ca_key), password=None)
    except OSError as error:
        raise FederationError(f"{files.ca}: the authority's certificate cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise FederationError(f"{files.folder}: the authority's files are not PEM; restore them") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise FederationError(f"{files.ca_key}: is not the key of {files.ca.name}; restore the pair") from None
    return certificate, key


def make_general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """Return host names and addresses as a certificate has them, with those of this machine.

    Raises:
        FederationError: one is neither a host name nor an address.
    """
    return [_make_general_name(name) for name in dict.fromkeys((*ALWAYS_NAMED, *names))]


def _make_general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name.encode("idna").decode("ascii"))
    except ValueError:
        raise FederationError(f"{name!r} is neither a host name nor an address") from None


def make_key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what a certificate's key is for: to sign certificates, or to sign in a TLS handshake."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _encode_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
