"""``consilium-site approve`` and ``revoke``: the data protection officer approves studies of exactly these terms.

An approval is for one study, or for as many as are named. Each admission uses one up; what is unused can be taken
back. ``--by`` is a text that nobody signs: the ledger shows that this site entered it, and under which account.
"""

from pathlib import Path

import click

from client.commands.confirm import read_machine_account, require_confirmation
from client.commands.study_table import NEVER_AGAIN, explain_at_site, print_explanation
from client.site.folder import SiteFolder
from privacy.command_line import say
from privacy.study import read_terms


@click.command()
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--by", "name", required=True, help="Who says yes; it stands in the ledger.")
@click.option("--runs", type=click.IntRange(1, 1000), default=1, show_default=True, help="For so many launches.")
@click.option("--further", is_flag=True, help="Add to an approval of these terms that is not used up.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def approve(home: SiteFolder, study: Path, name: str, runs: int, further: bool, yes: bool) -> None:
    """Approve exactly these terms, after showing what they would cost; for a policy 'approval: each-study'.

    One approval admits one launch (or --runs of them). A study that is closed before it has paid anything gives its
    approval back; 'consilium-site revoke' takes back what is unused.
    """
    terms = read_terms(study)
    with home.open_ledger() as ledger:
        unused = ledger.read_state().count_approved_runs(terms.digest)
        if unused and not further:
            say(
                f"these terms have an approval already that admits {unused} more: nothing was changed; to add to it, "
                "say --further"
            )
            return
        explanation = explain_at_site(home, ledger, terms, about_to_approve=True)
        print_explanation(explanation)
        if terms.privacy.epsilon is None:
            say(click.style(NEVER_AGAIN, fg="red", bold=True))
            require_confirmation("Approve a study without privacy?", yes)
        ledger.approve(terms.digest, name, runs, read_machine_account())
        unused = ledger.read_state().count_approved_runs(terms.digest)
    launches = "one launch" if unused == 1 else f"{unused} launches"
    say(f"approved: the terms {terms.digest[:16]}, by {name}, for {launches}; a change of the study needs another")
    if not explanation.admitted:
        say("this site would still refuse the study, for the reasons above")
    if home.config.policy.approval == "automatic":
        say("this site's policy admits without approval; set 'approval: each-study' in site.yaml to be asked")


@click.command()
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--by", "name", required=True, help="Who takes it back; it stands in the ledger.")
@click.pass_obj
def revoke(home: SiteFolder, study: Path, name: str) -> None:
    """Take back what is unused of the approvals of exactly these terms.

    Studies that were admitted continue; 'consilium-site withdraw' leaves one.
    """
    terms = read_terms(study)
    with home.open_ledger() as ledger:
        ledger.revoke(terms.digest, name, read_machine_account())
    say(f"revoked: no further study of the terms {terms.digest[:16]} is admitted until they are approved again")
