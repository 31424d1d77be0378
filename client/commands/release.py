"""``consilium-site release``: decide about finished models whose release waits for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.commands.confirm import ask_at_terminal, read_machine_account
from client.study.release_folder import RELEASE, UNPUBLISHED, find_withheld, publish_release
from privacy.command_line import Commands, print_json, print_table, say
from privacy.errors import SiteConfigError

if TYPE_CHECKING:
    from client.site.folder import SiteFolder
    from privacy.study.launch import Launch


@click.group(cls=Commands)
def release() -> None:
    """Finished models that wait for a person before they are released here."""


@release.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def release_list(home: SiteFolder, as_json: bool) -> None:
    """List the finished models that are not released yet."""
    waiting = [
        {"study": launch.study, "purpose": launch.terms.purpose, "model": model}
        for launch, model in _list_withheld(home)
    ]
    if as_json:
        print_json({"waiting": waiting})
    else:
        print_table(("study", "purpose", "model"), [tuple(each.values()) for each in waiting])


@release.command("approve")
@click.argument("study")
@click.option("--by", "name", required=True, help="Who says yes; it stands in the ledger.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def release_approve(home: SiteFolder, study: str, name: str, yes: bool) -> None:
    """Release the model of STUDY: it moves to where 'consilium-site predict' and others find it."""
    from privacy.ledger.entries import About, Choice

    launch, model = _require_withheld(home, study)
    folder = home.find_study_folder(study)
    say(f"the model {model} of '{study}', with its card, is in {folder / UNPUBLISHED}")
    ask_at_terminal("Release it?", yes)
    with home.open_ledger() as ledger:
        account = read_machine_account()
        ledger.decide(
            study, About.RELEASE, Choice.APPROVE, name, launch=launch.digest, model=model, account=account
        )
        ledger.record_release(study, model)
        publish_release(folder)
    say(f"released by {name}; the model is in {folder / RELEASE}")


@release.command("refuse")
@click.argument("study")
@click.option("--by", "name", required=True, help="Who says no; it stands in the ledger.")
@click.option("--why", help="Your reason.")
@click.pass_obj
def release_refuse(home: SiteFolder, study: str, name: str, why: str | None) -> None:
    """Refuse to release the model of STUDY here; it stays unpublished, and other sites have it all the same."""
    from privacy.ledger.entries import About, Choice

    launch, model = _require_withheld(home, study)
    with home.open_ledger() as ledger:
        account = read_machine_account()
        ledger.decide(
            study, About.RELEASE, Choice.REFUSE, name, launch=launch.digest, model=model, why=why, account=account
        )
    say(f"refused by {name}: the model of '{study}' stays unpublished at this site")


def _list_withheld(home: SiteFolder) -> list[tuple[Launch, str]]:
    from client.study.store import StudyStore

    stores = [StudyStore(path.parent) for path in sorted((home.folder / "studies").glob("*/state.json"))]
    return [
        (store.launch, store.state.withheld)
        for store in stores
        if store.state.withheld is not None and find_withheld(store.folder) is not None
    ]


def _require_withheld(home: SiteFolder, study: str) -> tuple[Launch, str]:
    """Return the launch of ``study``, and the SHA-256 of its model that is not released yet.

    Raises:
        SiteConfigError: there is none.
    """
    found = {launch.study: (launch, model) for launch, model in _list_withheld(home)}
    if study not in found:
        waiting = ", ".join(found) or "none"
        raise SiteConfigError(f"no model of '{study}' waits for its release; models that wait: {waiting}")
    return found[study]
