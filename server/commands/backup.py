"""``consilium backup`` and ``restore``: the federation's folder as one archive.

What an archive does not hold: Flower's own state in ``superlink/``, which the coordinator makes anew, and logs.
"""

import importlib.metadata
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from privacy.backup import BackupRules, restore_backup, write_backup
from privacy.command_line import say
from privacy.errors import FederationError
from server.commands.connect import require_federation
from server.federation.folder import Federation

if TYPE_CHECKING:
    from server.federation.profile import Profile

COORDINATOR_BACKUP: Final = BackupRules(
    kind="coordinator", leave_out=("superlink", "*.log", "*.log.*"), last=("witness.sqlite", "audit.sqlite")
)


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.pass_obj
def backup(place: "Federation | Profile", file: Path) -> None:
    """Write the whole federation into FILE, also while it runs: identity, authority, members, studies, log.

    FILE holds the coordinator's keys: keep it as safe as the folder, and encrypt it before it leaves the machine.
    """
    federation = require_federation(place, "a backup")
    name = federation.config.federation
    last = write_backup(
        federation.folder, file, COORDINATOR_BACKUP, name, importlib.metadata.version("consilium"), FederationError
    )
    say(f"wrote {last.size} bytes to {file} (SHA-256 {last.sha256})")
    say(
        "it holds the coordinator's keys: keep it as safe as the folder, and encrypt it before it leaves this machine"
    )


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def restore(file: Path, folder: Path) -> None:
    """Restore the federation in FILE into DIR, which is new or empty, and say what it needs before it runs.

    Never run two copies of one coordinator.
    """
    manifest = restore_backup(file, folder, "coordinator", FederationError)
    federation = Federation(folder)
    config = federation.config
    federation.load_identity()
    written = f"{datetime.fromtimestamp(manifest.time, UTC):%Y-%m-%d %H:%M:%S} UTC"
    say(f"restored the federation '{config.federation}' of {written} into {folder}")
    say(f"sites look for it at {config.address}: that name must lead to this machine. Stop the other copy for good")
    if config.behind_gateway:
        say(f"give the gateway {folder}/gateway again: its files are readable by you alone now")
    say(
        "a study that ran on after the backup was written cannot continue from it, since its sites are ahead: give it "
        "up (consilium study give-up STUDY) and launch it again; then look at everything: consilium check"
    )
