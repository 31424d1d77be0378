"""Check who makes a Fleet request, before its body is read: node key, signature, and the caller's certificate.

Flower checks a signature over the time alone, after it has read the body. A request that somebody has recorded can be
sent again for about five minutes, with any body. Here:

* a request without a valid signature by the node key that it names is refused;
* a signature is accepted once. Its number r is remembered, since the other half of an ECDSA signature can be rewritten
  without the key. After a restart nothing is remembered: what was recorded before can then be sent again, by whoever
  also has the site's TLS key;
* a header that tells who calls comes once: this check and Flower's would otherwise read another one of two;
* behind a gateway, a request comes with the certificate of its TLS connection. The certificate must be one that the
  site's entry in ``sites.json`` lists, and the node key must be the one in that entry. A site that was removed is
  refused with its next request, also on a connection that is still open.

Source: FIPS 186-5, section 6.4 (ECDSA); RFC 5280.
"""

import base64
import binascii
import datetime
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature

from privacy.client_certificate import Role, Subject, read_certificate
from privacy.errors import Error
from privacy.keys import convert_node_key_to_pem
from server.federation.client_certificates import format_serial, verify_client_certificate
from server.federation.config import CONFIG_FILE, Enrolment
from server.federation.folder import Federation

CERTIFICATE_HEADER: Final = "consilium-client-certificate"
"""The caller's certificate as PEM, percent-encoded; the gateway always sets it itself."""
_WINDOW: Final = datetime.timedelta(seconds=TIMESTAMP_TOLERANCE + 2 * SYSTEM_TIME_TOLERANCE)
"""How long Flower accepts a signature, with the clocks' difference on both sides."""
_TELLING: Final = (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    CERTIFICATE_HEADER,
)
_CERTIFICATES: Final = 256
"""Verified certificates that are remembered: four times the sites of the largest study."""

Headers = Iterable[tuple[bytes, bytes]]


class NotTheirsError(Exception):
    """The request is not by the node that it names."""


class FleetCallers:
    """Check the callers of the Fleet API.

    Args:
        members: who is enrolled; None where no gateway stands in front, so that requests bring no certificate.
    """

    def __init__(self, members: "Members | None" = None) -> None:
        self._members = members
        self._seen: dict[int, datetime.datetime] = {}

    def verify(self, headers: Headers, now: datetime.datetime) -> None:
        """Verify a request by its headers; each signature passes once.

        Raises:
            NotTheirsError: it has no valid signature, was sent before, or comes with another party's certificate.
        """
        found = _read_headers(headers)
        try:
            key = base64.b64decode(found[FLEET_HTTP_PUBLIC_KEY_HEADER], validate=True)
            signature = base64.b64decode(found[FLEET_HTTP_SIGNATURE_HEADER], validate=True)
            signed_text = found[TIMESTAMP_HEADER]
            signed_at = datetime.datetime.fromisoformat(signed_text)
            public, (number, _) = bytes_to_public_key(key), decode_dss_signature(signature)
            recent = abs(now - signed_at) < _WINDOW
        except (KeyError, ValueError, TypeError, binascii.Error):
            raise NotTheirsError("no signature") from None
        if not isinstance(public, ec.EllipticCurvePublicKey) or not recent:
            raise NotTheirsError("the signature is not recent")
        if not verify_signature(public, signed_text.encode("utf-8"), signature):
            raise NotTheirsError("the signature is not by the node key")
        if self._members is not None:
            self._members.verify(found.get(CERTIFICATE_HEADER, ""), key, now)
        self._note(number, now)

    def _note(self, number: int, now: datetime.datetime) -> None:
        """Note a signature; the oldest are forgotten when Flower no longer accepts them."""
        if number in self._seen:
            raise NotTheirsError("the request was sent before")
        while self._seen and now - next(iter(self._seen.values())) > 2 * _WINDOW:
            del self._seen[next(iter(self._seen))]
        self._seen[number] = now


def _read_headers(headers: Headers) -> dict[str, str]:
    """Read the headers that tell who calls; none may come twice, since Flower reads the first of two."""
    found: dict[str, str] = {}
    for name, value in headers:
        known = name.decode("latin-1").lower()
        if known in _TELLING and known in found:
            raise NotTheirsError(f"the header {known} came twice")
        found[known] = value.decode("latin-1")
    return found


class Members:
    """The enrolled sites of a federation whose coordinator is behind a gateway."""

    def __init__(self, federation: Federation) -> None:
        self._name = federation.config.federation
        self._authority_path = federation.tls.ca
        self._enrolment_path = federation.folder / "sites.json"
        self._federation = federation
        self._version: tuple[int, int, int] | None = None
        self._enrolment = Enrolment()
        self._verified: dict[str, _Verified] = {}

    def verify(self, certificate: str, node_key: bytes, now: datetime.datetime) -> None:
        """Verify that the owner of ``certificate`` is enrolled, with ``node_key``.

        Raises:
            NotTheirsError: they are not.
        """
        owner = self._verify_certificate(certificate, now)
        site = self._read_enrolment().sites.get(owner.subject.name)
        if owner.subject.role is not Role.SITE or owner.subject.federation != self._name:
            raise NotTheirsError("the certificate is not a site's of this federation")
        if site is None or owner.serial not in site.serials:
            raise NotTheirsError("the certificate's owner was removed")
        if convert_node_key_to_pem(site.node_key) != node_key:
            raise NotTheirsError("the node key is another site's than the certificate")

    def _verify_certificate(self, text: str, now: datetime.datetime) -> "_Verified":
        known = self._verified.get(text)
        if known is not None and now < known.until:
            return known
        try:
            certificate = read_certificate(urllib.parse.unquote(text))
            authority = x509.load_pem_x509_certificate(self._authority_path.read_bytes())
            subject = verify_client_certificate(authority, certificate, now)
        except (Error, OSError, ValueError):
            raise NotTheirsError("no certificate of this federation") from None
        verified = _Verified(subject, format_serial(certificate), certificate.not_valid_after_utc)
        if len(self._verified) >= _CERTIFICATES:
            self._verified.clear()
        self._verified[text] = verified
        return verified

    def _read_enrolment(self) -> Enrolment:
        """Read who is enrolled, again if the file has changed; nobody is while it cannot be read."""
        try:
            found = self._enrolment_path.stat()
            version = (found.st_ino, found.st_mtime_ns, found.st_size)
            if version != self._version:
                self._enrolment = self._federation.read_enrolment()
                self._version = version
        except (OSError, Error):
            self._enrolment, self._version = Enrolment(), None
        return self._enrolment


@dataclass(frozen=True)
class _Verified:
    """A certificate whose signature was verified."""

    subject: Subject
    serial: str
    until: datetime.datetime


def find_members(folder: Path) -> Members | None:
    """Return the members of the federation in ``folder``; None if it has no gateway, or is no federation's.

    Raises:
        FederationError: the folder cannot be used.
    """
    federation = Federation(folder)
    if not (folder / CONFIG_FILE).exists() or not federation.config.gateway:
        return None
    return Members(federation)
