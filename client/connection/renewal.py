"""Renew the site's TLS certificate before it ends: a look when the site starts, and once a day.

A renewal that fails is reported and tried again at the next look. A certificate that has ended cannot renew itself: the
site joins again, with a new invitation.
"""

import datetime
import threading
from collections.abc import Callable

from client.connection.daily_look import look_daily
from client.site.folder import SiteFolder
from privacy.client_certificate import Role, Subject
from privacy.control.channel import Caller, ControlClient
from privacy.errors import Error, SiteConfigError


def renew_certificate(home: SiteFolder, now: datetime.datetime) -> datetime.datetime | None:
    """Renew the certificate if it is due; return when the new one ends, None if nothing was due.

    Raises:
        Error: the coordinator cannot be reached or refuses, or a file cannot be used.
    """
    credentials, admission = home.credentials, home.load_admission()
    if not credentials.load().is_due(now):
        return None
    client = connect_to_control_plane(home)
    try:
        request = credentials.make_request(admission.name)
        proof = home.prove_node_key(admission.name, request)
        renewed = client.call("Renew", signing_request=request, node_proof=proof)
    finally:
        client.close()
    subject = Subject(admission.federation, Role.SITE, admission.name)
    credentials.accept(renewed["certificate"], subject, SiteConfigError)
    return credentials.load().ends


def connect_to_control_plane(home: SiteFolder) -> ControlClient:
    """Make a client of the coordinator's control plane, with the site's present certificate.

    Raises:
        Error: the site has not joined, or a key cannot be used.
    """
    admission = home.load_admission()
    caller = Caller(admission.federation, admission.name, home.load_identity())
    return ControlClient.remote(admission.control, home.ca_path.read_bytes(), home.credentials.load(), caller)


def keep_renewing(
    home: SiteFolder,
    stop: threading.Event,
    tell: Callable[[str], None],
    renewed: Callable[[], None],
    failed: Callable[[str], None],
) -> threading.Thread:
    """Start a thread that renews the certificate until ``stop`` is set.

    Args:
        home: the site's folder.
        stop: ends the thread.
        tell: is called with a sentence about each renewal.
        renewed: is called after each renewal.
        failed: is called with a sentence when a certificate that is due could not be renewed.
    """

    def look() -> None:
        try:
            ends = renew_certificate(home, datetime.datetime.now(datetime.UTC))
            if ends is not None:
                renewed()
                tell(f"this site's certificate is renewed until {ends:%Y-%m-%d}")
        except Error as error:
            failed(f"this site's certificate could not be renewed ({error}); trying again tomorrow")

    return look_daily("certificate renewal", look, stop)
