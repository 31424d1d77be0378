"""``consilium backup`` and ``restore``: the federation's folder as one archive.

What an archive does not hold: Flower's own state in ``superlink/``, which the coordinator makes anew, and logs.
"""

from __future__ import annotations

import importlib.metadata
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from privacy.backup_rules import BackupRules
from privacy.command_line import print_table, say
from privacy.errors import FederationError
from privacy.passphrase import passphrase_option, take_new_passphrase, take_passphrase

if TYPE_CHECKING:
    from server.federation.config import EnrolledMember
    from server.federation.folder import Federation
    from server.federation.profile import Profile

COORDINATOR_BACKUP: Final = BackupRules(
    kind="coordinator", leave_out=("superlink", "*.log", "*.log.*"), last=("witness.sqlite", "audit.sqlite")
)


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--encrypt", is_flag=True, help="Encrypt FILE under a passphrase.")
@passphrase_option
@click.pass_obj
def backup(place: Federation | Profile, file: Path, encrypt: bool, passphrase_file: Path | None) -> None:
    """Write the whole federation into FILE, also while it runs: identity, authority, members, studies, log.

    FILE holds the coordinator's keys: keep it as safe as the folder, or encrypt it (--encrypt, --passphrase-file) and
    keep the passphrase elsewhere. Without the passphrase nobody can restore it.
    """
    from privacy.backup import write_backup
    from server.commands.connect import require_federation

    federation = require_federation(place, "a backup")
    name, program = federation.config.federation, importlib.metadata.version("consilium")
    passphrase = take_new_passphrase(encrypt, passphrase_file, FederationError)
    last = write_backup(federation.folder, file, COORDINATOR_BACKUP, name, program, FederationError, passphrase)
    say(f"wrote {last.size} bytes to {file} (SHA-256 {last.sha256})")
    if passphrase is None:
        say(
            "it holds the coordinator's keys, and is not encrypted: keep it as safe as the folder, or write it with "
            "--encrypt"
        )
    else:
        say(
            "it holds the coordinator's keys, encrypted: keep the passphrase elsewhere, since without it it is lost"
        )


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@passphrase_option
def restore(file: Path, folder: Path, passphrase_file: Path | None) -> None:
    """Restore the federation in FILE into DIR, which is new or empty, and say what it needs before it runs.

    Never run two copies of one coordinator.
    """
    from privacy.restore import restore_backup
    from server.federation.folder import Federation

    manifest = restore_backup(
        file, folder, "coordinator", FederationError, lambda: take_passphrase(passphrase_file, FederationError)
    )
    federation = Federation(folder)
    config = federation.config
    federation.load_identity()
    written = f"{datetime.fromtimestamp(manifest.time, UTC):%Y-%m-%d %H:%M:%S} UTC"
    federation.mark_restored(written)
    say(f"restored the federation '{config.federation}' of {written} into {folder}")
    say(f"sites look for it at {config.address}: that name must lead to this machine. Stop the other copy for good")
    if config.gateway:
        say(f"give the gateway {folder}/gateway again")
    say(
        "who was removed after the backup is a member again, and who was admitted after it is none: look at the "
        "members, remove and invite, and confirm; before that it does not run: consilium confirm-members"
    )
    say(
        "a study that ran on after the backup was written cannot continue from it, since its sites are ahead: give it "
        "up (consilium study give-up STUDY) and launch it again; then look at everything: consilium check"
    )


@click.command("confirm-members")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def confirm_members(place: Federation | Profile, yes: bool) -> None:
    """After a restore: show who is a member, and confirm that all of them are, so that the coordinator runs again."""
    from privacy.keys import PublicKey
    from server.commands.connect import require_federation
    from server.commands.members import record_locally

    federation = require_federation(place, "to confirm the members")
    enrolment = federation.read_enrolment()
    members: list[tuple[str, str, EnrolledMember]] = [
        *(("site", name, each) for name, each in sorted(enrolment.sites.items())),
        *((str(each.role), name, each) for name, each in sorted(enrolment.people.items())),
    ]
    print_table(
        ("name", "role", "identity key", "contact"),
        [(name, role, PublicKey.from_text(each.identity).typed, each.contact) for role, name, each in members],
    )
    if not yes:
        if not sys.stdin.isatty():
            raise FederationError("nobody is here to look at the members; once somebody has, say so with --yes")
        click.confirm("Is each of them still a member?", abort=True, err=True)
    with record_locally(federation, "ConfirmMembers", ""):
        federation.confirm_restored()
    say("confirmed; it runs again: consilium up")
