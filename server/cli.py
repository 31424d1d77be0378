"""``consilium``: the command of the people who coordinate studies.

Every command works on one federation's folder: ``--dir``, or the environment variable ``CONSILIUM_DIR``, or the
current folder. In the folder of a profile, which 'consilium join' makes at another machine, commands call the
coordinator through its gateway.
"""

from pathlib import Path
from typing import Final

import click

from privacy.command_line import Commands, Later, run

_COMMANDS: Final = {
    "init": Later(
        "server.commands.init:init",
        "Make a federation in DIR: its identity, its certificate authority, its configuration.",
    ),
    "up": Later(
        "server.commands.up:up", "Run the coordinator until stopped (Ctrl-C); studies continue where they were."
    ),
    "invite": Later(
        "server.commands.members:invite",
        "Print an invitation for NAME, to be used once: a site, an operator or an auditor.",
    ),
    "requests": Later("server.commands.members:requests", "Who is invited, and whose request waits for you."),
    "admit": Later(
        "server.commands.members:admit",
        "Admit NAME, whose request came with an invitation, or the party whose request is in the file REQUEST.",
    ),
    "remove": Later(
        "server.commands.members:remove",
        "Remove NAME at once: its certificates are revoked, its connection ends, studies go on without it.",
    ),
    "join": Later(
        "server.commands.members:join",
        "Make a profile in --dir from an operator's or auditor's INVITATION (its text, or a file of it).",
    ),
    "sites": Later(
        "server.commands.sites:sites",
        "List the enrolled sites: who is online, identity keys, and the program that each said to run.",
    ),
    "study": Later("server.commands.study:study", "Studies: check, launch, watch."),
    "model": Later("server.commands.model:model", "List and explain the models of the catalogue."),
    "testimony": Later(
        "server.commands.testimony:testimony",
        "What this coordinator has seen of its sites' ledgers, for auditors and for a site that lost its own.",
    ),
    "log": Later("server.commands.log:log", "Who changed what, when: verify the log's chain and print it."),
    "check": Later(
        "server.commands.check:check",
        "Look at everything that the coordinator needs; each line is green, amber or red, with the next step.",
    ),
    "backup": Later(
        "server.commands.backup:backup",
        "Write the whole federation into FILE, also while it runs: identity, authority, members, studies, log.",
    ),
    "restore": Later(
        "server.commands.backup:restore",
        "Restore the federation in FILE into DIR, which is new or empty, and say what it needs before it runs.",
    ),
    "confirm-members": Later(
        "server.commands.backup:confirm_members",
        "After a restore: show who is a member, and confirm that all of them are, so that the coordinator runs again.",
    ),
    "doctor": Later(
        "server.commands.doctor:doctor",
        "Collect into FILE (.tar.gz) what support needs: versions, the check, configuration, the last lines of logs.",
    ),
    "demo": Later(
        "server.commands.demo:demo", "Several hospitals on this machine train one model together, for real."
    ),
    "audit-run": Later(
        "server.commands.audit_run:audit_run",
        "Attack one training of a study on public or generated data, as 'consilium-site audit-run' does.",
    ),
}


@click.group(cls=Commands, later=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consilium", message="%(prog)s %(version)s")
@click.option(
    "--dir",
    "--federation",
    "folder",
    envvar="CONSILIUM_DIR",
    default=".",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The federation's folder, or a profile's at another machine (environment: CONSILIUM_DIR).",
)
@click.pass_context
def cli(context: click.Context, folder: Path) -> None:
    """Coordinate studies over hospitals' data, without ever seeing a record or a lone update."""
    from server.commands.connect import open_place

    context.obj = open_place(folder)


def main() -> None:
    """Run the console script ``consilium``."""
    run(cli, "consilium")
