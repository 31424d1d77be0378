"""List the checks of a coordinator, or of the profile of an operator or auditor at another machine."""

import datetime
import functools
import importlib.metadata
import time
from collections.abc import Iterator

from privacy.client_certificate import CredentialFiles
from privacy.errors import FederationError
from privacy.health import Check, Health, Line, amber, green, red, run_checks
from privacy.machine_checks import check_backup, check_disk, check_version
from privacy.reachability import check_way
from server.federation.folder import Federation
from server.federation.profile import Profile
from server.health.network import check_address, check_certificates, make_context
from server.health.records import check_keys, check_process, check_records, check_studies, check_time


def examine(place: Federation | Profile) -> Health:
    """Look at everything that a coordinator, or a profile, needs; nothing is changed.

    Raises:
        FederationError: the folder is neither, or its configuration cannot be read.
    """
    if isinstance(place, Federation):
        subject, checks = place.config.federation, _list_coordinator_checks(place)
    else:
        admission = place.load_admission()
        subject, checks = admission.federation, _list_profile_checks(place)
    return Health(
        program="consilium",
        program_version=importlib.metadata.version("consilium"),
        subject=subject,
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        lines=tuple(run_checks(checks)),
    )


def _list_coordinator_checks(federation: Federation) -> list[tuple[str, Check]]:
    config = federation.config
    return [
        ("federation", lambda: [green("federation", f"'{config.federation}' in {federation.folder}")]),
        ("version", check_version),
        ("disk", lambda: check_disk(federation.folder)),
        ("keys", functools.partial(check_keys, federation)),
        ("time", functools.partial(check_time, federation)),
        ("service", functools.partial(check_process, federation)),
        ("address", functools.partial(check_address, federation)),
        ("certificates", functools.partial(check_certificates, federation)),
        ("studies", functools.partial(check_studies, federation)),
        ("records", functools.partial(check_records, federation)),
        ("backup", lambda: check_backup(federation.folder, "consilium backup FILE", FederationError)),
    ]


def _list_profile_checks(profile: Profile) -> list[tuple[str, Check]]:
    return [
        ("profile", functools.partial(_check_profile, profile)),
        ("version", check_version),
        ("address", functools.partial(_check_profile_way, profile)),
        ("own certificate", functools.partial(_check_profile_certificate, profile)),
        ("calls", functools.partial(_check_calls, profile)),
    ]


def _check_profile(profile: Profile) -> Iterator[Line]:
    admission = profile.load_admission()
    yield green("profile", f"the {admission.role} '{admission.name}' of '{admission.federation}'")


def _check_profile_way(profile: Profile) -> Iterator[Line]:
    admission = profile.load_admission()
    context = make_context(admission.ca_certificate, CredentialFiles(profile.folder).path)

    def explain() -> str:
        return (
            f"{admission.address} shows a certificate that is not of the federation's authority for it, or out of its "
            "time: does a proxy on the way inspect TLS? Or is this clock wrong?"
        )

    yield from check_way(admission.address, context, explain)


def _check_profile_certificate(profile: Profile) -> Iterator[Line]:
    ends = CredentialFiles(profile.folder).load().ends
    if ends < datetime.datetime.now(datetime.UTC):
        yield red(
            "own certificate",
            f"it ran out on {ends:%Y-%m-%d}",
            "ask an operator for a new invitation: consilium join INVITATION",
        )
    elif ends < datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=14):
        yield amber("own certificate", f"valid until {ends:%Y-%m-%d}", "use any command: it renews the certificate")
    else:
        yield green("own certificate", f"valid until {ends:%Y-%m-%d}")


def _check_calls(profile: Profile) -> Iterator[Line]:
    client = profile.connect()
    try:
        studies = client.call("ListStudies")["items"]
    finally:
        client.close()
    yield green("calls", f"the coordinator answers, and knows {len(studies)} studies")
