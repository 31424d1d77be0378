"""Issue the certificates of sites and people, and the list of those that are revoked.

* The names in a certificate are the federation's, never those of the request.
* A certificate is for TLS clients only, and valid for 90 days (``privacy/client_certificate.py``).
* The list of revoked certificates (RFC 5280, section 5) is written anew with every change and every day. It is valid
  for 30 days, so that a gateway whose coordinator is down for a while does not refuse everybody.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from privacy.client_certificate import CLIENT_DAYS, Subject, read_signing_request, read_subject
from privacy.document import Document
from privacy.errors import WireError
from server.federation.certificates import (
    TlsFiles,
    load_authority,
    make_builder,
    make_days,
    make_general_names,
    make_key_usage,
)

_LIST_DAYS: Final = 30


class RevokedCertificate(Document):
    """A certificate that is not accepted any more: its serial number in hexadecimal, and when it was revoked."""

    serial: str
    when: datetime.datetime


@dataclass(frozen=True)
class Issued:
    """A certificate, and the serial number under which it can be revoked."""

    pem: str
    serial: str
    ends: datetime.datetime


def issue_client_certificate(files: TlsFiles, request: str, subject: Subject, now: datetime.datetime) -> Issued:
    """Issue the certificate of ``subject`` for the key of a signing request.

    Args:
        files: the authority's.
        request: PKCS #10 as PEM.
        subject: whom the certificate names.
        now: its life begins.

    Raises:
        WireError: the request is damaged, or not for a P-256 key.
        FederationError, KeyFileError: the authority's files cannot be used.
    """
    return issue_for_key(files, read_signing_request(request), subject, now)


def issue_for_key(
    files: TlsFiles,
    key: ec.EllipticCurvePublicKey,
    subject: Subject,
    now: datetime.datetime,
    server_names: Iterable[str] = (),
) -> Issued:
    """Issue the certificate of ``subject`` for ``key``, as :func:`issue_client_certificate`.

    ``server_names`` are host names under which the owner is also a server; for the gateway alone.
    """
    authority, authority_key = load_authority(files)
    ends = min(now + make_days(CLIENT_DAYS), authority.not_valid_after_utc)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(subject.uri)]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if hosts := tuple(server_names):
        names += make_general_names(hosts)
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    common_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.name)])
    certificate = (
        make_builder(common_name, authority.subject, key, now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(make_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
    return Issued(pem, format_serial(certificate), certificate.not_valid_after_utc)


def verify_client_certificate(
    authority: x509.Certificate, certificate: x509.Certificate, now: datetime.datetime
) -> Subject:
    """Verify that the authority issued a client's certificate and that it is valid now; return its owner.

    Whether it was revoked is the caller's to check.

    Raises:
        WireError: it is not.
    """
    key = authority.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (InvalidSignature, ValueError, x509.ExtensionNotFound):
        raise WireError("the certificate is not one that this federation's authority issued to a client") from None
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise WireError("the certificate is a server's, not a client's")
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise WireError(f"the certificate is valid until {certificate.not_valid_after_utc:%Y-%m-%d} only")
    return read_subject(certificate)


def make_revocation_list(files: TlsFiles, revoked: Iterable[RevokedCertificate], now: datetime.datetime) -> bytes:
    """Make the signed list of revoked certificates, as PEM.

    Raises:
        FederationError, KeyFileError: the authority's files cannot be used.
    """
    authority, key = load_authority(files)
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=authority.subject, last_update=now, next_update=now + make_days(_LIST_DAYS)
    )
    for each in revoked:
        entry = x509.RevokedCertificateBuilder(serial_number=int(each.serial, 16), revocation_date=each.when)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def format_serial(certificate: x509.Certificate) -> str:
    """Write a certificate's serial number in hexadecimal."""
    return f"{certificate.serial_number:x}"
