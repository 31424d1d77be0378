"""``consilium-site approve``, ``refuse`` and ``revoke``: people decide about studies.

* About a study that waits, by its identifier: the decision is for exactly that launch.
* Ahead of a launch, by its STUDY.yaml, after the same table as far as the terms fill it: an approval is for one launch
  of exactly these terms, or for as many as are named. Each admission uses one up; what is unused can be taken back.
* For an audit of the terms on this site's own patients, or a training of them by this site alone, in the same way. Each
  approval admits what it is for, and nothing else.

``--by`` is a text that nobody signs: the ledger shows that this site entered it, and under which account.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from client.commands.confirm import ask_at_terminal, read_machine_account, require_confirmation
from privacy.command_line import say
from privacy.errors import SiteConfigError

if TYPE_CHECKING:
    from client.site.folder import SiteFolder
    from client.study.waiting_studies import WaitingStudy
    from privacy.ledger.entries import Admits, Review
    from privacy.study import Terms

_ADMITS: Final = (
    "launch",
    "audit",
    "alone",
)  # the words of privacy.ledger.entries.Admits, which help need not import
_STUDY_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,39}-[0-9a-f]{8}")


@click.command()
@click.argument("study", metavar="STUDY")
@click.option("--by", "name", required=True, help="Who says yes; it stands in the ledger.")
@click.option("--reviewed-by", metavar="SITE", help="The site on whose review you rely.")
@click.option("--reviewed", metavar="SHA256", help="The terms that it has reviewed.")
@click.option("--runs", type=click.IntRange(1, 1000), default=1, show_default=True, help="For so many launches.")
@click.option(
    "--for",
    "admits",
    type=click.Choice(_ADMITS),
    default=_ADMITS[0],
    show_default=True,
    help="What it admits, ahead: launches, audits (audit-run --own-data), or trainings alone (train-alone).",
)
@click.option("--further", is_flag=True, help="Add to an approval of these terms that is not used up.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def approve(
    home: SiteFolder,
    study: str,
    name: str,
    reviewed_by: str | None,
    reviewed: str | None,
    runs: int,
    admits: str,
    further: bool,
    yes: bool,
) -> None:
    """Agree to STUDY, after showing what it is and what it costs.

    STUDY is a study that waits here ('consilium-site status' lists them), or a STUDY.yaml ahead of a launch. An
    approval ahead admits one launch of exactly these terms, or --runs of them, or with --for audit audits of them on
    the patients registered here, or with --for alone trainings by this site alone; 'consilium-site revoke' takes back
    what is unused.
    """
    from privacy.ledger.entries import About, Admits, Choice
    from privacy.study import read_terms

    review = _read_review(reviewed_by, reviewed)
    if _is_file(study):
        if review is not None:
            raise click.UsageError(
                "--reviewed is for a study that waits; an approval ahead of a launch has no place for it"
            )
        _approve_ahead(home, read_terms(Path(study)), name, runs, Admits(admits), further, yes)
        return
    if runs != 1 or further or admits != Admits.LAUNCH:
        raise click.UsageError("--runs, --for and --further are for an approval ahead of a launch, by a STUDY.yaml")
    waiting = _show(home, study)
    if (unconfirmed := home.describe_unconfirmed()) is not None:
        raise SiteConfigError(unconfirmed)
    _ask(waiting.launch.statement.terms, "Agree to it?", yes)
    with home.open_ledger() as ledger:
        _require_same(home, waiting)
        account, launch = read_machine_account(), waiting.launch.statement.digest
        ledger.decide(study, About.ADMISSION, Choice.APPROVE, name, launch=launch, reviewed=review, account=account)
        state = ledger.read_state()
        asked, decided = (
            state.decisions.find_required(study),
            state.decisions.list_decisions(study, About.ADMISSION),
        )
    agreed = sum(each.choice is Choice.APPROVE for each in decided)
    needed = 1 if asked is None else asked.persons
    refused = [each.by for each in decided if each.choice is Choice.REFUSE]
    if refused:
        say(f"approved by {name}; it stays refused as long as {', '.join(refused)} refuses it")
    elif agreed < needed:
        say(f"approved by {name}: {agreed} of {needed} have agreed; it waits for another person")
    else:
        say(f"approved by {name}; the coordinator hears of it the next time it asks")


@click.command()
@click.argument("study", metavar="STUDY")
@click.option("--by", "name", required=True, help="Who says no; it stands in the ledger.")
@click.option("--why", help="Your reason; the coordinator's operator reads it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def refuse(home: SiteFolder, study: str, name: str, why: str | None, yes: bool) -> None:
    """Refuse STUDY, which waits here; one refusal is enough.

    The same person can still agree to it later, while the coordinator asks for it.
    """
    from privacy.ledger.entries import About, Choice

    waiting = _show(home, study)
    ask_at_terminal("Refuse it?", yes)
    with home.open_ledger() as ledger:
        _require_same(home, waiting)
        account, launch = read_machine_account(), waiting.launch.statement.digest
        ledger.decide(study, About.ADMISSION, Choice.REFUSE, name, launch=launch, why=why, account=account)
    say(f"refused by {name}; the coordinator hears of it the next time it asks")


@click.command()
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--by", "name", required=True, help="Who takes it back; it stands in the ledger.")
@click.pass_obj
def revoke(home: SiteFolder, study: Path, name: str) -> None:
    """Take back what is unused of the approvals of exactly these terms.

    Studies that were admitted continue; 'consilium-site withdraw' leaves one.
    """
    from privacy.study import read_terms

    terms = read_terms(study)
    with home.open_ledger() as ledger:
        ledger.revoke(terms.digest, name, read_machine_account())
    say(f"revoked: no further study of the terms {terms.digest[:16]} is admitted until they are approved again")


def _is_file(study: str) -> bool:
    """Return whether ``study`` is meant as a file: an identifier has no dot and no folder."""
    return _STUDY_ID.fullmatch(study) is None


def _read_review(site: str | None, terms: str | None) -> Review | None:
    from privacy.ledger.entries import Review

    if (site is None) is not (terms is None):
        raise click.UsageError("--reviewed-by and --reviewed belong together: who has reviewed, and which terms")
    if site is None or terms is None:
        return None
    try:
        return Review(site=site, terms=terms)
    except ValueError:
        raise click.UsageError(
            "expected the name of a site, and the 64 digits of the terms that it has reviewed"
        ) from None


def _show(home: SiteFolder, study: str) -> WaitingStudy:
    """Print everything about a study that waits, and return it."""
    from client.commands.decision_table import print_decision_table
    from client.commands.study_table import explain_at_site, print_explanation
    from client.study.waiting_studies import WaitingStudies

    if _is_file(study):
        raise SiteConfigError(f"expected a study that waits here, such as lungs-1a2b3c4d, got '{study}'")
    waiting = WaitingStudies(home).require(study)
    with home.open_ledger() as ledger:
        print_decision_table(home, ledger.read_state(), waiting)
        print_explanation(explain_at_site(home, ledger, waiting.launch.statement.terms, about_to_approve=True))
    return waiting


def _ask(terms: Terms, question: str, yes: bool) -> None:
    """Ask the person at the terminal; a study without privacy needs a clear word from a script, too."""
    if terms.privacy.epsilon is None:
        require_confirmation("Approve a study without privacy?", yes)
    else:
        ask_at_terminal(question, yes)


def _require_same(home: SiteFolder, shown: WaitingStudy) -> None:
    """Refuse to decide about something else than what was shown.

    Raises:
        SiteConfigError: it waits no longer, or another launch does.
    """
    from client.study.waiting_studies import WaitingStudies

    now = WaitingStudies(home).require(shown.study)
    if now.launch != shown.launch:
        raise SiteConfigError(
            f"'{shown.study}' is another launch now than the one that was shown; look at it again"
        )


def _approve_ahead(
    home: SiteFolder, terms: Terms, name: str, runs: int, admits: Admits, further: bool, yes: bool
) -> None:
    from client.commands.decision_table import print_terms_table
    from client.commands.study_table import explain_at_site, print_explanation
    from privacy.ledger.entries import Admits

    with home.open_ledger() as ledger:
        unused = ledger.read_state().count_approved_runs(terms.digest, admits)
        if unused and not further:
            say(
                f"these terms have an approval already that admits {unused} more: nothing was changed; to add to it, "
                "say --further"
            )
            return
        explanation = explain_at_site(home, ledger, terms, about_to_approve=True)
        print_terms_table(terms)
        print_explanation(explanation)
        asked = _count(runs, admits)
        whoever = "whoever asks" if admits is Admits.LAUNCH else "on the patients registered here"
        _ask(terms, f"Agree to {asked} of it, {whoever}?", yes)
        ledger.approve(terms.digest, name, runs, read_machine_account(), admits)
        unused = ledger.read_state().count_approved_runs(terms.digest, admits)
    say(
        f"approved: the terms {terms.digest[:16]}, by {name}, for {_count(unused, admits)}; "
        "a change of the study needs another"
    )
    if not explanation.admitted:
        say("this site would still refuse the study, for the reasons above")
    if explanation.persons:
        say(
            "this site's policy asks for a second person, who decides when the study waits"
            if admits is Admits.LAUNCH
            else "this site's policy asks for two people, so it still refuses "
            f"{'an audit' if admits is Admits.AUDIT else 'a training alone'}"
        )


def _count(runs: int, admits: Admits) -> str:
    from privacy.ledger.entries import Admits

    one, several = {
        Admits.LAUNCH: ("launch", "launches"),
        Admits.AUDIT: ("audit", "audits"),
        Admits.ALONE: ("training alone", "trainings alone"),
    }[admits]
    return f"one {one}" if runs == 1 else f"{runs} {several}"
