"""``consilium-site key``: replace the site's identity key by a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from privacy.command_line import Commands, say

if TYPE_CHECKING:
    from client.site.folder import SiteFolder


@click.group(cls=Commands)
def key() -> None:
    """Show the site's identity key, which signs its messages and its ledger, or change it."""


@key.command("change")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@click.pass_obj
def key_change(home: SiteFolder, yes: bool) -> None:
    """Make a new identity key and continue with it; the ledger continues too. Interrupted, run it again.

    Stop the site first. Afterwards it must be admitted by its coordinator again, and every other site must pin the
    new key.
    """
    from client.site.running import keep_stopped

    with keep_stopped(home, "its key is changed"):
        _change_key(home, yes)


def _change_key(home: SiteFolder, yes: bool) -> None:
    from client.site.key_rotation import Rotation

    rotation = Rotation(home)
    if rotation.interrupted:
        say("a change was interrupted; it is finished now")
    else:
        for study in _list_studies_in_progress(home):
            say(f"the study '{study}' is in progress; this site cannot continue with it under another key")
        if not yes and not click.confirm("make a new identity key and retire the present one?", err=True):
            say("nothing was changed")
            raise click.Abort
    for step in rotation.steps:
        step()
    say("the identity key is changed, in the ledger and on disk; back the folder up now. What is left to do:")
    say("  join the coordinator again: consilium-site join --request FILE, and then --admission FILE")
    say(f"  other sites' people: consilium-site peer forget {home.config.name}, then peer trust with the new key:")
    click.echo(home.load_identity().public.typed)


def _list_studies_in_progress(home: SiteFolder) -> list[str]:
    with home.open_ledger() as ledger:
        accounts = ledger.read_state().accounts.values()
    return [study for account in accounts for study, each in account.allowances.items() if not each.closed]
