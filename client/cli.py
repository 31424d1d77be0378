"""``consilium-site``: the command line of the site engineer and the data protection officer.

Every command works on the folder of one site: ``--dir``, else the environment variable ``CONSILIUM_SITE``, else the
current folder.
"""

from pathlib import Path
from typing import Final

import click

from privacy.command_line import Commands, Later, run

_COMMANDS: Final = {
    "init": Later(
        "client.commands.init:init", "Make a site in DIR: its keys, its ledger, its policy (policy.yaml)."
    ),
    "status": Later(
        "client.commands.status:status",
        "Who this site is, whether it runs, where studies stand, and the head of its ledger.",
    ),
    "up": Later(
        "client.commands.up:up", "Connect to the coordinator and take part in studies until stopped (Ctrl-C)."
    ),
    "join": Later(
        "client.commands.join:join",
        "Join a coordinator with its INVITATION (its text, a file, or -), or by two files.",
    ),
    "policy": Later(
        "client.commands.policy:policy", "What this site allows a study, and who must agree to it: policy.yaml."
    ),
    "peer": Later(
        "client.commands.peer:peer",
        "Pin the keys of other sites, after people have compared them, or that of a consortium that vouches for them.",
    ),
    "consortium": Later(
        "client.commands.consortium:consortium", "For whoever holds a consortium's key: sign who its members are."
    ),
    "data": Later(
        "client.commands.data:data", "Register tables or arrays, each a population of patients with one budget."
    ),
    "weights": Later(
        "client.commands.weights:weights",
        "Public weights that studies begin with; nothing is fetched when a study runs.",
    ),
    "budget": Later(
        "client.commands.budget:budget",
        "Show what was granted, spent and set aside for each population, and what is left for which study.",
    ),
    "approve": Later(
        "client.commands.approve:approve", "Agree to STUDY, after showing what it is and what it costs."
    ),
    "refuse": Later("client.commands.approve:refuse", "Refuse STUDY, which waits here; one refusal is enough."),
    "revoke": Later(
        "client.commands.approve:revoke", "Take back what is unused of the approvals of exactly these terms."
    ),
    "withdraw": Later(
        "client.commands.withdraw:withdraw",
        "Take no further part in STUDY: what it has not used of the budget goes back, for good.",
    ),
    "ledger": Later(
        "client.commands.ledger:ledger", "Read or export the ledger of all privacy that was granted and spent."
    ),
    "key": Later(
        "client.commands.key:key",
        "Show the site's identity key, which signs its messages and its ledger, or change it.",
    ),
    "release": Later(
        "client.commands.release:release", "Finished models that wait for a person before they are released here."
    ),
    "predict": Later(
        "client.commands.predict:predict",
        "Say what the released model in RELEASE predicts for each record of DATA.",
    ),
    "explain": Later(
        "client.commands.explain:explain",
        "Say which inputs moved the model in RELEASE for a patient of DATA, or for all of them.",
    ),
    "report": Later(
        "client.commands.report:report",
        "Write a page on the released model in RELEASE: what it is, for whom, how good it is here, its limits.",
    ),
    "export": Later(
        "client.commands.export:export",
        "Write the released model in RELEASE for other programs, from the contract's units to its scores.",
    ),
    "simulate": Later(
        "client.commands.simulate:simulate",
        "Train on public CSV files in one place, for comparison: nothing is charged and nothing sealed.",
    ),
    "audit-run": Later(
        "client.commands.audit_run:audit_run",
        "Attack one training on public or generated data: what epsilon is it at least, beside the one claimed?",
    ),
    "train-alone": Later(
        "client.commands.train_alone:train_alone",
        "Train on this site's patients alone, each left out once their own budget is spent (individual Rényi filters).",
    ),
    "check": Later(
        "client.commands.check:check",
        "Look at everything that this site needs; each line is green, amber or red, with the next step.",
    ),
    "backup": Later(
        "client.commands.backup:backup",
        "Write the whole site into FILE, also while it runs: keys, ledger, studies, configuration.",
    ),
    "restore": Later(
        "client.commands.backup:restore",
        "Restore the site in FILE into DIR, which is new or empty, and say what it needs before it runs.",
    ),
    "confirm-policy": Later(
        "client.commands.backup:confirm_policy",
        "After a restore: show what the site allows and trusts again, and confirm it, so that studies are admitted "
        "again.",
    ),
    "doctor": Later(
        "client.commands.doctor:doctor",
        "Collect into FILE (.tar.gz) what support needs: versions, the check, configuration, harmless lines of logs.",
    ),
    "evidence": Later(
        "client.commands.evidence:evidence",
        "Write signed evidence to FILE (JSON): versions, packages, policy, check, pinned keys, the ledger's head.",
    ),
}


@click.group(cls=Commands, later=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consilium", message="%(prog)s %(version)s")
@click.option(
    "--dir",
    "folder",
    envvar="CONSILIUM_SITE",
    default=".",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The site's folder (environment: CONSILIUM_SITE).",
)
@click.pass_context
def cli(context: click.Context, folder: Path) -> None:
    """Take part in studies with this hospital's data, under this hospital's rules."""
    from client.site.folder import SiteFolder

    context.obj = SiteFolder(folder)


def main() -> None:
    """Run the console script."""
    run(cli, "consilium-site")
