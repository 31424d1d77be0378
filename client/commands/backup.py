"""``consilium-site backup`` and ``restore``: the site's folder as one archive, for a lost disk or another machine.

What an archive does not hold: the figures in ``log/``, and the secrets of a round in progress (``attempt.sealed``,
``draw-*.key``, ``totals-*.key``), since two machines that use them could reveal together what each keeps. A restored
site lets such a round pass.
"""

import importlib.metadata
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from client.site.folder import SiteFolder
from privacy.backup import BackupRules, restore_backup, write_backup
from privacy.command_line import say
from privacy.errors import SiteConfigError
from privacy.ledger import verify_file

SITE_BACKUP: Final = BackupRules(
    kind="site",
    leave_out=("log", "up.json", "node.json", "attempt.sealed", "draw-*.key", "totals-*.key"),
    last=("ledger.sqlite",),
)


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.pass_obj
def backup(home: SiteFolder, file: Path) -> None:
    """Write the whole site into FILE, also while it runs: keys, ledger, studies, configuration.

    FILE holds this site's keys: keep it as safe as the site's folder, and encrypt it before it leaves the machine.
    """
    name = home.config.name
    home.load_identity()  # refuses while a change of the key is unfinished
    last = write_backup(
        home.folder, file, SITE_BACKUP, name, importlib.metadata.version("consilium"), SiteConfigError
    )
    say(f"wrote {last.size} bytes to {file} (SHA-256 {last.sha256})")
    say(
        "it holds this site's keys: keep it as safe as the site's folder, and encrypt it before it leaves this machine"
    )


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def restore(file: Path, folder: Path) -> None:
    """Restore the site in FILE into DIR, which is new or empty, and say what it needs before it runs.

    Never run two copies of one site: the coordinator notices it, and both stop training.
    """
    manifest = restore_backup(file, folder, "site", SiteConfigError)
    home = SiteFolder(folder)
    head = verify_file(home.ledger_path, home.load_identity().public).head
    written = f"{datetime.fromtimestamp(manifest.time, UTC):%Y-%m-%d %H:%M:%S} UTC"
    say(f"restored the site '{manifest.name}' of {written} into {folder}; its ledger ends with entry {head.number}")
    say("never run it beside the site that it is a copy of: stop that one for good")
    say(
        "if that site ran after the backup was written, this ledger is behind what the coordinator has countersigned: "
        "before 'consilium-site up', ask the coordinator's operator for the newest head (consilium testimony head "
        f"{manifest.name}), and run: consilium-site ledger recover FILE"
    )
    say("then look at everything: consilium-site check")
