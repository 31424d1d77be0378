"""``consilium-site withdraw``: leave a study for good, whatever its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.commands.confirm import ask_at_terminal
from privacy.command_line import say

if TYPE_CHECKING:
    from client.site.folder import SiteFolder


@click.command()
@click.argument("study")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def withdraw(home: SiteFolder, study: str, yes: bool) -> None:
    """Take no further part in STUDY: what it has not used of the budget goes back, for good.

    For a study that will not continue, and for one that this site leaves. What was trained stays paid; a coordinator
    that asks for another round is refused.
    """
    # imported late: it loads tenseal, without which every other command starts in half the time
    from client.study.kept_secrets import forget_kept_secrets
    from privacy.ledger.entries import Ending

    with home.open_ledger() as ledger:
        left = ledger.read_state().find_account_of_study(study).budget.epsilon_left
        ask_at_terminal(f"'{study}' ends here for good, and this site gets no model of it. Leave it?", yes)
        ledger.give_back(study, Ending.WITHDRAWN)
        forget_kept_secrets(home.find_study_folder(study))
        after = ledger.read_state().find_account_of_study(study).budget
    say(
        f"'{study}' is closed here; of the population '{after.population}' epsilon {after.epsilon_left:.3f} is left "
        f"(before: {left:.3f})"
    )
