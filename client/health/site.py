"""List the checks of a site, in the order in which a person would mend what is wrong."""

import functools
import importlib.metadata
from collections.abc import Callable, Iterator

from client.health.machine import check_confinement, check_device
from client.health.network import check_network, check_own_certificate, check_service
from client.health.records import check_data, check_keys, check_ledger, check_peers, check_policy
from client.health.sources import check_sources
from client.site.folder import SiteFolder
from client.site.running import format_now
from privacy.errors import SiteConfigError
from privacy.health import Check, Health, Line, green, run_checks
from privacy.machine_checks import check_backup, check_disk, check_version

_CHECKS: tuple[tuple[str, Callable[[SiteFolder], Iterator[Line]]], ...] = (
    ("keys", check_keys),
    ("network", check_network),
    ("own certificate", check_own_certificate),
    ("service", check_service),
    ("device", check_device),
    ("confinement", check_confinement),
    ("peers", check_peers),
    ("data", check_data),
    ("sources", check_sources),
    ("policy", check_policy),
    ("ledger", check_ledger),
)


def examine_site(home: SiteFolder) -> Health:
    """Look at everything that this site needs; nothing is changed.

    Raises:
        SiteConfigError: the folder is no site's, or ``site.yaml`` cannot be read.
    """
    name = home.config.name
    checks: list[tuple[str, Check]] = [
        ("site", lambda: [green("site", f"'{name}' in {home.folder}")]),
        ("version", check_version),
        ("disk", lambda: check_disk(home.folder)),
        *((label, functools.partial(check, home)) for label, check in _CHECKS),
        ("backup", lambda: check_backup(home.folder, "consilium-site backup FILE", SiteConfigError)),
    ]
    return Health(
        program="consilium-site",
        program_version=importlib.metadata.version("consilium"),
        subject=name,
        time=format_now(),
        lines=tuple(run_checks(checks)),
    )
