"""``consilium-site withdraw``: take no further part in a study, whatever has become of it."""

import click

from client.home import SiteHome
from privacy.console import say


@click.command()
@click.argument("study")
@click.pass_obj
def withdraw(home: SiteHome, study: str) -> None:
    """Take no further part in STUDY: what it has not used of the budget goes back, for good.

    For a study that will not go on, and for one that this site leaves. What was trained stays paid; a coordinator that
    asks for another round is refused.
    """
    with home.open_ledger() as ledger:
        left = ledger.budget_of(study).epsilon_left
        ledger.give_back(study)
        after = ledger.budget_of(study)
    say(
        f"'{study}' is closed here; of the population '{after.population}' epsilon {after.epsilon_left:.3f} is left "
        f"(before: {left:.3f})"
    )
