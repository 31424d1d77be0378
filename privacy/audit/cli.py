"""``consilium-audit``: check a site's book without trusting the site or the coordinator.

Exit codes: 0 what was asked holds, 2 the command was written wrongly, 26 a book cannot be read or is not to be
believed (the sentence names the first wrong entry and the rule it breaks).
"""

from typing import NoReturn

import click

from privacy.audit.reconcile import reconcile
from privacy.audit.verify import verify
from privacy.console import run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Check a hospital's privacy ledger offline, trusting nobody."""


cli.add_command(verify)
cli.add_command(reconcile)


def main() -> NoReturn:
    """The console script."""
    run(cli, "consilium-audit")
