"""``consilium-site backup`` and ``restore``: the site's folder as one archive, for a lost disk or another machine.

A restored site admits no study before a person has looked at its policy (``confirm-policy``): the archive may be older
than what people here have changed since.

What an archive does not hold: the figures in ``log/``; the snapshots in ``data/``, which are large and made again from
their sources; and the secrets of a round in progress (``attempt.sealed``, ``draw-*.key``, ``totals-*.key``), since two
machines that use them could reveal together what each keeps. A restored site lets such a round pass. Nor does it hold
the noise that a later round cancels (``noise-*.npz``): a restored site begins with noise of its own.
"""

from __future__ import annotations

import importlib.metadata
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from client.commands.confirm import ask_at_terminal
from privacy.backup_rules import BackupRules
from privacy.command_line import say
from privacy.errors import SiteConfigError
from privacy.passphrase import passphrase_option, take_new_passphrase, take_passphrase

if TYPE_CHECKING:
    from client.site.folder import SiteFolder

SITE_BACKUP: Final = BackupRules(
    kind="site",
    leave_out=(
        "log",
        "data",
        "up.json",
        "node.json",
        "attempt.sealed",
        "draw-*.key",
        "totals-*.key",
        "noise-*.npz",
    ),
    last=("ledger.sqlite",),
)


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--encrypt", is_flag=True, help="Encrypt FILE under a passphrase.")
@passphrase_option
@click.pass_obj
def backup(home: SiteFolder, file: Path, encrypt: bool, passphrase_file: Path | None) -> None:
    """Write the whole site into FILE, also while it runs: keys, ledger, studies, configuration.

    FILE holds this site's keys: keep it as safe as the site's folder, or encrypt it (--encrypt, --passphrase-file) and
    keep the passphrase elsewhere. Without the passphrase nobody can restore it.
    """
    from privacy.backup import write_backup

    name, program = home.config.name, importlib.metadata.version("consilium")
    home.load_identity()  # refuses while a change of the key is unfinished
    passphrase = take_new_passphrase(encrypt, passphrase_file, SiteConfigError)
    last = write_backup(home.folder, file, SITE_BACKUP, name, program, SiteConfigError, passphrase)
    say(f"wrote {last.size} bytes to {file} (SHA-256 {last.sha256})")
    if passphrase is None:
        say(
            "it holds this site's keys, and is not encrypted: keep it as safe as the site's folder, or write it with "
            "--encrypt"
        )
    else:
        say("it holds this site's keys, encrypted: keep the passphrase elsewhere, since without it it is lost")


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@passphrase_option
def restore(file: Path, folder: Path, passphrase_file: Path | None) -> None:
    """Restore the site in FILE into DIR, which is new or empty, and say what it needs before it runs.

    Never run two copies of one site: the coordinator notices it, and both stop training.
    """
    from client.site.folder import SiteFolder
    from privacy.ledger import verify_file
    from privacy.restore import restore_backup

    manifest = restore_backup(
        file, folder, "site", SiteConfigError, lambda: take_passphrase(passphrase_file, SiteConfigError)
    )
    home = SiteFolder(folder)
    head = verify_file(home.ledger_path, home.load_identity().public).head
    written = f"{datetime.fromtimestamp(manifest.time, UTC):%Y-%m-%d %H:%M:%S} UTC"
    home.mark_restored(written)
    say(f"restored the site '{manifest.name}' of {written} into {folder}; its ledger ends with entry {head.number}")
    say("never run it beside the site that it is a copy of: stop that one for good")
    say(f"whom and what it trusts is that of {written}: what people here changed since is undone. Look at it now:")
    for line in describe_trust(home):
        say(f"  {line}")
    say("no study is admitted before somebody has confirmed it: consilium-site confirm-policy")
    say(
        "if that site ran after the backup was written, this ledger is behind what the coordinator has countersigned: "
        "before 'consilium-site up', ask the coordinator's operator for the newest head (consilium testimony head "
        f"{manifest.name}), and run: consilium-site ledger recover FILE"
    )
    if lost := [each for each in home.load_registry().registrations.values() if each.mapping is not None]:
        say(
            f"snapshots of data are in no backup: make {len(lost)} of them again: consilium-site data add STUDY.yaml; "
            "a study in progress goes on here if the sources are still as they were"
        )
    say("then look at everything: consilium-site check")


@click.command("confirm-policy")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def confirm_policy(home: SiteFolder, yes: bool) -> None:
    """After a restore: show what the site allows and trusts again, and confirm it, so that studies are admitted again.

    For the data protection officer. Until then every new study waits, also one that a rule of the policy would admit.
    """
    if home.describe_unconfirmed() is None:
        raise SiteConfigError(f"{home.folder}: nothing waits to be confirmed; its policy is in force")
    for line in describe_trust(home):
        say(line)
    if not yes and not sys.stdin.isatty():
        raise SiteConfigError("nobody is here to look at the policy; once somebody has, say so with --yes")
    ask_at_terminal("Is this what the site allows and trusts today?", yes)
    home.confirm_policy()
    say("confirmed; studies are admitted again, the next time the coordinator asks")


def describe_trust(home: SiteFolder) -> list[str]:
    """Describe what a site trusts and leaves out: what an older copy of its folder quietly takes back."""
    from client.commands.policy import describe_admission

    policy, peers = home.policy, home.load_peers()
    objections = len(home.open_patient_register().load_objections().since)
    lines = [
        f"policy.yaml (SHA-256 {policy.digest[:16]}): {describe_admission(policy)}; operators: "
        f"{', '.join(sorted(policy.operators)) or 'anybody'} (consilium-site policy show)",
        f"pinned peers: {', '.join(sorted(peers.pinned)) or 'none'}; a peer whose key was forgotten since is believed "
        "again (consilium-site peer list)",
        f"objections: of {objections} patients; record again those that came since (consilium-site data object)",
    ]
    if (trusted := peers.consortium) is not None:
        newest = "no list" if trusted.newest is None else f"list {trusted.newest.statement.number}"
        lines.append(
            f"consortium '{trusted.name}': {newest}, {len(trusted.revocations)} revoked keys; import its newest list "
            "(consilium-site peer import)"
        )
    return lines
