"""``consilium-site doctor``: one file for support, from an allow list: no record, no figure of records, no secret.

``log/training.log`` is never read. Of ``site.log`` go in the sentences that :data:`_HARMLESS` knows; of a data file
that is missing or was changed, not even its path.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from privacy.command_line import say
from privacy.errors import Error, SiteConfigError
from privacy.support_file import read_log_lines, remove_secrets, write_support_file

if TYPE_CHECKING:
    from client.site.config import SiteConfig
    from client.site.folder import SiteFolder

_STUDY: Final = r"[a-z0-9-]+: "
_HARMLESS: Final = re.compile(
    r"'[a-z0-9-]+' (serves|has stopped)"
    r"|connected to |waiting: the coordinator |waiting: this site's node "
    r"|this site's certificate |the federation's authority |this site cannot train: "
    r"|training (runs in|is confined|is not confined|has no network)"
    rf"|{_STUDY}(admitted: |continues after round |round \d+ of \d+ is trained and sealed; )"
    rf"|{_STUDY}the last model is evaluated; "
    rf"|{_STUDY}refuses [a-z -]+ \([a-z-]+\)"
)
"""How sentences of the activity log begin that hold public facts alone."""


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.pass_obj
def doctor(home: SiteFolder, file: Path) -> None:
    """Collect into FILE (.tar.gz) what support needs: versions, the check, configuration, harmless lines of logs.

    No record, nothing computed from records, and no secret goes in. What goes in is listed: look at it before you
    send it.
    """
    from client.health.shown import leave_out_paths, list_secret_files
    from client.health.site import examine_site
    from privacy.machine_checks import list_versions, read_free_memory

    config = home.config
    health = examine_site(home)
    parts = {
        "check.json": _format(leave_out_paths(health).model_dump(mode="json")),
        "versions.json": _format(list_versions() | {"memory_free": str(read_free_memory())}),
        "configuration.json": _format(_describe_configuration(home, config)),
        "site.log": _collect_log(home.folder / "log" / "site.log"),
        "site-problems.log": _collect_log(home.folder / "log" / "site-problems.log"),
    }
    secrets = list_secret_files(home, config)
    sizes = write_support_file(file, parts, secrets, SiteConfigError)
    say(f"wrote {file}: look at what is in it before you send it")
    for name, size in sizes.items():
        say(f"  {name}  {size} bytes")


def _format(value: Any) -> str:
    return remove_secrets(json.dumps(value, indent=1, sort_keys=True)) + "\n"


def _collect_log(path: Path) -> str:
    lines = read_log_lines(path, lambda logger, text: logger != "activity" or _HARMLESS.match(text) is not None)
    return "".join(f"{line}\n" for line in lines)


def _describe_configuration(home: SiteFolder, config: SiteConfig) -> dict[str, Any]:
    """Describe ``site.yaml`` and ``policy.yaml`` without people, addresses of programs, and passwords."""
    found: dict[str, Any] = {
        "site": config.name,
        "device": config.device,
        "precision": config.precision,
        "launcher": config.launcher.kind,
        "confinement": getattr(config.launcher, "confinement", ""),
        "hooks": sorted(name for name, hook in config.hooks if hook),
        "proxy": config.proxy is not None,
        "metrics": config.metrics_port is not None,
    }
    try:
        policy = home.policy.model_dump(mode="json", exclude={"contact", "operators", "automatic"})
        found["policy"] = policy
    except Error:
        found["policy"] = "cannot be read"
    try:
        admission = home.load_admission()
        found["federation"], found["coordinator"] = admission.federation, admission.address
    except Error:
        found["federation"] = "not joined"
    return found
