"""``consilium-audit``: check a site's ledger without trusting the site or the coordinator.

Exit codes:

* 0: what was asked holds;
* 2: the command was written wrongly;
* 25: a budget has no room for what was asked;
* 26: a ledger cannot be verified (the message names the first wrong entry and the rule it breaks);
* 29: ledgers, testimonies and packs of evidence contradict each other;
* 31: a ledger cannot be read now;
* 61: a pack of evidence was changed, is another site's, or is too old.
"""

from typing import NoReturn

import click

from privacy.audit.commands.reconcile import reconcile
from privacy.audit.commands.report import report
from privacy.audit.commands.verify import verify
from privacy.audit.commands.verify_evidence import verify_evidence
from privacy.audit.commands.whatif import whatif
from privacy.command_line import Commands, run


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consilium", message="%(prog)s %(version)s")
def cli() -> None:
    """Check a hospital's privacy ledger offline, trusting nobody."""


cli.add_command(verify)
cli.add_command(report)
cli.add_command(reconcile)
cli.add_command(whatif)
cli.add_command(verify_evidence)


def main() -> NoReturn:
    """Run the console script ``consilium-audit``."""
    run(cli, "consilium-audit")
