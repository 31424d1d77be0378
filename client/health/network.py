"""Check a site's way to its coordinator, its own certificate, and whether the running site is connected."""

import datetime
import time
from collections.abc import Iterator
from typing import Final

from client.connection.tls_trust import describe_near_expiry, explain_refusal, make_tls_context
from client.site.folder import SiteFolder
from client.site.proxy import use_proxy
from client.site.running import read_connection
from privacy.client_certificate import RENEW_DAYS
from privacy.health import Line, amber, green, red
from privacy.reachability import check_way

_LATE_DAYS: Final = RENEW_DAYS - 7
"""A running site renews its certificate before: if it has not, its renewal fails."""


def check_network(home: SiteFolder) -> Iterator[Line]:
    """Check the way to the coordinator as the agent goes it.

    Raises:
        SiteConfigError: the site has not joined yet, or its proxy's password cannot be read.
        LinkError, KeyFileError: a certificate or a key cannot be used.
    """
    admission = home.load_admission()
    use_proxy(home.config.proxy)
    context = make_tls_context(home.ca_path, home.credentials.path)
    yield from check_way(admission.address, context, lambda: explain_refusal(admission.address, home.ca_path))


def check_own_certificate(home: SiteFolder) -> Iterator[Line]:
    """Check when this site's certificate, and the federation's authority, run out.

    Raises:
        KeyFileError: the certificate cannot be read.
    """
    if not (home.folder / "admission.json").exists():
        return  # the line of the network says so
    ends = home.credentials.load().ends
    days = (ends - datetime.datetime.now(datetime.UTC)) / datetime.timedelta(days=1)
    found = f"valid until {ends:%Y-%m-%d}"
    if days < 0:
        yield red(
            "own certificate",
            f"it ran out on {ends:%Y-%m-%d}",
            "ask the coordinator's operator for a new invitation, then: consilium-site join INVITATION",
        )
    elif days < _LATE_DAYS:
        yield amber(
            "own certificate", found, "start the site: it renews the certificate; its log says why if it cannot"
        )
    elif soon := describe_near_expiry(home.ca_path, time.time()):
        yield amber("own certificate", found, soon)
    else:
        yield green("own certificate", found)


def check_service(home: SiteFolder) -> Iterator[Line]:
    """Check that the site runs and is connected."""
    link = read_connection(home)
    if link is None:
        yield amber("service", "this site does not run", "start it: consilium-site up")
    elif link.connected_since is None:
        yield amber(
            "service",
            f"runs, not connected: {link.sentence or 'it is being tried'}",
            "see the lines above; it connects by itself as soon as it can",
        )
    else:
        yield green("service", f"runs, connected since {link.connected_since}")
