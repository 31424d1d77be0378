"""``consilium-site approve``: the data protection officer says yes to one study's terms, for good."""

from pathlib import Path

import click

from client.commands.explanation import explained, print_explanation
from client.home import SiteHome
from privacy.console import say
from privacy.ledger import Ledger
from privacy.ledger.entries import Approve, Entry
from privacy.study import read_terms


@click.command()
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--by", "name", required=True, help="Who says yes; it stands in the book.")
@click.pass_obj
def approve(home: SiteHome, study: Path, name: str) -> None:
    """Approve exactly these terms, after showing what they would cost; for a policy 'approval: each-study'."""
    terms = read_terms(study)
    with home.open_ledger() as ledger:
        before = _approval(ledger, terms.digest)
        if before is not None:
            assert isinstance(before.body, Approve)
            say(f"{before.body.by} approved these terms already, at {before.time} (entry {before.number})")
            return
        explanation = explained(home, ledger, terms, about_to_approve=True)
        print_explanation(explanation)
        ledger.approve(terms.digest, name)
    say(f"approved: the terms {terms.digest[:16]}, by {name}; any change of the study asks for another approval")
    if not explanation.admitted:
        say("this site would still refuse the study, for the reasons above")
    if home.config.policy.approval == "automatic":
        say("this site's policy admits without approval; set 'approval: each-study' in site.yaml to be asked")


def _approval(ledger: Ledger, terms: str) -> Entry | None:
    entries = (entry for entry in ledger.entries() if isinstance(entry.body, Approve))
    return next((entry for entry in entries if isinstance(entry.body, Approve) and entry.body.terms == terms), None)
