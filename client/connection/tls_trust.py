"""Decide which certificate a site accepts from its coordinator, and explain a refusal.

Rules:

* only the federation's authority is trusted, which came with the admission; TLS 1.3 (RFC 8446);
* a refused certificate is checked a second time without its dates. If it is then the authority's and for this
  address, its dates are wrong: the sentence says which one and what to do. Otherwise it is another party's
  certificate: a third look, which trusts nothing and sends nothing of the site, reads who issued it. Most often that
  is a proxy of the hospital that opens TLS to inspect it.

Source: RFC 5280; X509_V_FLAG_NO_CHECK_TIME of OpenSSL.
"""

import ssl
import time
from pathlib import Path
from typing import Any, Final

import httpx

from privacy.address import split_address
from privacy.client_certificate import read_issuer
from privacy.errors import LinkError
from privacy.proxy import make_http_client

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
_ASK_S: Final = 10.0
_DAY_S: Final = 86400
WARN_DAYS: Final = 180


def make_tls_context(ca_certificate: Path, credential: Path | None = None) -> ssl.SSLContext:
    """Make a TLS context that accepts certificates of the federation's authority, and no other.

    Args:
        ca_certificate: the authority's.
        credential: the file of this site's own TLS key and certificate, which a gateway asks for.

    Raises:
        LinkError: a file is no certificate, or the key is missing.
    """
    try:
        context = ssl.create_default_context(cafile=ca_certificate)
    except (OSError, ssl.SSLError):
        raise LinkError(
            f"{ca_certificate}: expected the federation's authority certificate in PEM form; "
            "it comes with the coordinator's admission"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if credential is not None:
        try:
            context.load_cert_chain(credential)
        except (OSError, ssl.SSLError):
            raise LinkError(
                f"{credential}: expected this site's TLS key and certificate; join the coordinator again "
                "(consilium-site join)"
            ) from None
    return context


def explain_refusal(address: str, ca_certificate: Path) -> str:
    """Explain why the certificate at ``address`` is not accepted, and what to do."""
    context = make_tls_context(ca_certificate)
    (authority,) = context.get_ca_certs()[:1] or ({},)
    # for this explanation only: the one request under these flags carries nothing of the site
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)
    shown = _ask_for_certificate(address, context)
    if shown is None:
        return _describe_stranger(address, ca_certificate)
    return describe_dates(authority, shown.getpeercert() or {}, time.time())


def _ask_for_certificate(address: str, context: ssl.SSLContext) -> ssl.SSLObject | None:
    """Connect to ``address``; return the TLS connection's object, None if ``context`` refuses it."""
    host, port = split_address(address)
    try:
        with (
            make_http_client(host, port, context, _ASK_S) as client,
            client.stream("GET", f"https://{address}/health") as response,
        ):
            found: ssl.SSLObject = response.extensions["network_stream"].get_extra_info("ssl_object")
            return found
    except (httpx.HTTPError, httpx.InvalidURL, AttributeError, KeyError):
        return None


def _describe_stranger(address: str, ca_certificate: Path) -> str:
    """Describe who issued the certificate at ``address``, which is not the federation's authority for it."""
    sentence = "its certificate is not signed by the federation's authority for this address"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is read, and never trusted
    shown = _ask_for_certificate(address, context)
    data = shown.getpeercert(True) if shown else None
    issuer = read_issuer(data) if data else None
    if issuer is None or issuer == read_issuer(ssl.PEM_cert_to_DER_cert(ca_certificate.read_text("ascii"))):
        return sentence
    return (
        f"{sentence}, but by {issuer!r}: does a proxy or firewall on the way inspect TLS? Its operators must let "
        f"{address} pass unopened, since a site trusts nobody in between"
    )


def describe_old_tls(address: str) -> str:
    """Describe an answer in TLS 1.2 or older, which no coordinator gives."""
    return (
        f"what answers there speaks no TLS 1.3, so it is not the coordinator: does a proxy or firewall on the way "
        f"inspect TLS? Its operators must let {address} pass unopened"
    )


def describe_dates(authority: dict[str, Any], shown: dict[str, Any], now: float) -> str:
    """Describe which date of two certificates refuses them at ``now``.

    The certificates are as :meth:`ssl.SSLSocket.getpeercert` gives them.
    """
    for whose, certificate in (("the federation's authority", authority), ("its certificate", shown)):
        begins = ssl.cert_time_to_seconds(certificate["notBefore"])
        if now < begins:
            moment = time.strftime("%Y-%m-%d %H:%M", time.gmtime(begins))
            return f"{whose} is not valid before {moment} UTC: is this machine's clock right?"
    if now > (ends := _read_end_time(shown)):
        return (
            f"its certificate ran out on {_format_day(ends)} and this machine's clock says {_format_day(now)}: if "
            "the clock is right, the coordinator's operator renews the certificate by starting the coordinator again"
        )
    if now > (ends := _read_end_time(authority)):
        return (
            f"the federation's authority ran out on {_format_day(ends)} and this machine's clock says "
            f"{_format_day(now)}: if the clock is right, ask the coordinator's operator for a new "
            "admission (consilium-site join)"
        )
    return "its certificate is not accepted"


def describe_near_expiry(ca_certificate: Path, now: float) -> str | None:
    """Describe when the authority expires, if that is soon; else return None."""
    (authority,) = make_tls_context(ca_certificate).get_ca_certs()[:1] or ({},)
    if not authority or _read_end_time(authority) - now > WARN_DAYS * _DAY_S:
        return None
    return (
        f"the federation's authority runs out on {_format_day(_read_end_time(authority))}: ask the coordinator's "
        "operator for a new admission before that day (consilium-site join)"
    )


def _read_end_time(certificate: dict[str, Any]) -> float:
    return ssl.cert_time_to_seconds(certificate["notAfter"])


def _format_day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def read_authority_end(ca_certificate: Path) -> float:
    """Read when the authority expires, in seconds since 1970.

    Raises:
        LinkError: the file is no certificate.
    """
    (authority,) = make_tls_context(ca_certificate).get_ca_certs()[:1] or ({},)
    return _read_end_time(authority) if authority else 0.0
