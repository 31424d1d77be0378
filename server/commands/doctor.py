"""``consilium doctor``: one file for support, from an allow list, without a secret. A coordinator has no record."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from privacy.command_line import say
from privacy.errors import FederationError
from privacy.support_file import read_log_lines, remove_secrets, write_support_file

if TYPE_CHECKING:
    from server.federation.folder import Federation
    from server.federation.profile import Profile

_SECRETS = (
    *("identity.key", "operator.key", "ca.key", "server.key", "gateway/gateway.key", "tls.pem", "tls.key.next"),
    "invitation.json",
)


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.pass_obj
def doctor(place: "Federation | Profile", file: Path) -> None:
    """Collect into FILE (.tar.gz) what support needs: versions, the check, configuration, the last lines of logs.

    No secret goes in. What goes in is listed: look at it before you send it.
    """
    from privacy.machine_checks import list_versions, read_free_memory
    from server.commands.connect import require_federation
    from server.health.coordinator import examine

    federation = require_federation(place, "the support file")
    config = federation.config
    parts = {
        "check.json": _format(examine(federation).model_dump(mode="json")),
        "versions.json": _format(list_versions() | {"memory_free": str(read_free_memory())}),
        "configuration.json": _format(config.model_dump(mode="json", exclude={"contact"})),
        "coordinator.log": _collect_log(federation.folder / "coordinator.log"),
        "coordinator-problems.log": _collect_log(federation.folder / "coordinator-problems.log"),
    }
    secrets = [federation.folder / name for name in _SECRETS]
    for name, size in write_support_file(file, parts, secrets, FederationError).items():
        say(f"  {name}  {size} bytes")
    say(f"wrote {file}: look at what is in it before you send it")


def _format(value: Any) -> str:
    return remove_secrets(json.dumps(value, indent=1, sort_keys=True)) + "\n"


def _collect_log(path: Path) -> str:
    return "".join(f"{line}\n" for line in read_log_lines(path, lambda logger, text: True))
