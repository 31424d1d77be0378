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

from typing import Final, NoReturn

import click

from privacy.command_line import Commands, Later, run

_COMMANDS: Final = {
    "verify": Later(
        "privacy.audit.commands.verify:verify",
        "Check each LEDGER, a site's ledger.sqlite or an export of it, and print every population's budget.",
    ),
    "report": Later(
        "privacy.audit.commands.report:report",
        "Check LEDGER and write what it says as one HTML page, to read and to print.",
    ),
    "reconcile": Later(
        "privacy.audit.commands.reconcile:reconcile",
        "Compare what witnesses saw with sites' ledgers or exports of them, and with what other witnesses saw.",
    ),
    "whatif": Later(
        "privacy.audit.commands.whatif:whatif",
        "Compute what would still fit in the budget of a population, by LEDGER.",
    ),
    "verify-evidence": Later(
        "privacy.audit.commands.verify_evidence:verify_evidence",
        "Check FILE, which 'consilium-site evidence' has written, and print what it shows.",
    ),
}


@click.group(cls=Commands, later=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consilium", message="%(prog)s %(version)s")
def cli() -> None:
    """Check a hospital's privacy ledger offline, trusting nobody."""


def main() -> NoReturn:
    """Run the console script ``consilium-audit``."""
    run(cli, "consilium-audit")
