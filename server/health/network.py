"""Check how sites and people reach the coordinator: its address from here, and the certificates of both ends."""

import datetime
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from privacy.client_certificate import read_certificate
from privacy.errors import FederationError
from privacy.health import Light, Line, amber, green, red
from privacy.reachability import check_way
from server.federation.certificates import RENEW_DAYS as SERVER_RENEW_DAYS
from server.federation.folder import Federation

_DAY_S: Final = 86400.0
_GATEWAY_DAYS: Final = 14
_LIST_AMBER_DAYS: Final = 2
_LIST_RED_DAYS: Final = 30
"""The list of revoked certificates is written every day; after this long the gateway refuses everybody."""
_AUTHORITY_DAYS: Final = 400


def make_context(authority: str, credential: Path | None = None) -> ssl.SSLContext:
    """Make a TLS context that trusts the federation's authority alone.

    Args:
        authority: its certificate, PEM.
        credential: the file of the caller's TLS key and certificate.

    Raises:
        FederationError: it is no certificate, or the key is missing.
    """
    try:
        context = ssl.create_default_context(cadata=authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if credential is not None:
            context.load_cert_chain(credential)
    except (OSError, ssl.SSLError):
        raise FederationError(
            f"{credential or 'the authority'}: expected a certificate in PEM form; restore it from your backup"
        ) from None
    return context


def check_address(federation: Federation) -> Iterator[Line]:
    """Check the coordinator's address from this machine, through the gateway if there is one.

    A gateway that only other machines can reach is amber: sites see more than this machine does.
    """
    config = federation.config

    def explain() -> str:
        return (
            f"{config.address} shows a certificate that is not of this federation's authority, or not for "
            f"{config.host}, or out of its time; the gateway needs the folder gateway/ as it is now"
        )

    for line in check_way(config.address, make_context(federation.tls.ca.read_text("ascii")), explain):
        if config.gateway and line.light is Light.RED and line.check in ("name", "port"):
            yield amber(
                line.check, f"{line.found} (from this machine)", "check it from a site: consilium-site check"
            )
        else:
            yield line


def check_certificates(federation: Federation) -> Iterator[Line]:
    """Check when the authority's, the server's and the gateway's certificates run out, and the list of revoked ones.

    Raises:
        FederationError: one cannot be read.
    """
    renew = "the running coordinator renews it every day: start it, its log says why if it cannot"
    files = [
        ("authority", federation.tls.ca, _AUTHORITY_DAYS, "then hand every site a new admission; " + renew),
        ("server certificate", federation.tls.certificate, SERVER_RENEW_DAYS - _GATEWAY_DAYS, renew),
    ]
    if federation.config.gateway:
        path = federation.folder / "gateway" / "gateway.crt"
        files.append(("gateway certificate", path, _GATEWAY_DAYS, renew))
    for name, path, soon, step in files:
        yield _judge_dates(name, path, soon, step)
    if federation.config.gateway:
        yield _judge_list(federation.folder / "gateway" / "crl.pem", renew)


def _judge_dates(name: str, path: Path, soon: int, step: str) -> Line:
    try:
        ends = read_certificate(path.read_text("ascii")).not_valid_after_utc
    except OSError as error:
        raise FederationError(f"{path}: cannot be read: {error.strerror}; restore it from your backup") from None
    days = (ends - datetime.datetime.now(datetime.UTC)) / datetime.timedelta(days=1)
    if days < 0:
        return red(name, f"it ran out on {ends:%Y-%m-%d}", step)
    if days < soon:
        return amber(name, f"valid until {ends:%Y-%m-%d}", step)
    return green(name, f"valid until {ends:%Y-%m-%d}")


def _judge_list(path: Path, step: str) -> Line:
    days = (time.time() - path.stat().st_mtime) / _DAY_S
    found = f"written {days:.0f} days ago"
    if days > _LIST_RED_DAYS:
        return red("revoked certificates", f"{found}: the gateway refuses everybody by now", step)
    if days > _LIST_AMBER_DAYS:
        return amber("revoked certificates", found, step)
    return green("revoked certificates", found)
