"""``consilium-site status``: who a site is, and where its studies stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from client.study.release_folder import find_withheld
from privacy.command_line import print_json, print_table
from privacy.errors import SiteConfigError

if TYPE_CHECKING:
    from client.site.folder import SiteFolder
    from client.study.store import StudyStore


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def status(home: SiteFolder, as_json: bool) -> None:
    """Who this site is, whether it runs, where studies stand, and the head of its ledger."""
    facts = list_site_facts(home)
    if as_json:
        print_json(facts)
        return
    print_table(
        ("", ""),
        [
            ("site", facts["site"]),
            ("", _describe_running(facts["running"])),
            *([("ROLLED BACK", facts["rolled_back"])] if facts["rolled_back"] else []),
            ("identity", facts["identity"]),
            ("coordinator", facts["coordinator"] or "not joined"),
            ("peers", ", ".join(facts["peers"]) or "none pinned"),
            ("data", ", ".join(facts["populations"]) or "none registered"),
            ("ledger", f"{facts['ledger']['number']} entries, head {facts['ledger']['hash']}"),
            *((f"study {each['study']}", _describe_standing(each)) for each in facts["studies"]),
            *((f"study {each['study']}", _describe_waiting(each)) for each in facts["waiting"]),
            *((f"study {each['study']}", _describe_alone(each)) for each in facts["alone"]),
        ],
    )


def _describe_running(link: dict[str, Any] | None) -> str:
    if link is None:
        return "does not run; start it with: consilium-site up"
    since = f"runs since {link['running_since']}" if link["running_since"] else "runs"
    if link["connected_since"]:
        return f"{since}, connected since {link['connected_since']}"
    return f"{since}, not connected: {link['sentence'] or 'it is being tried'}"


def _describe_waiting(waiting: dict[str, Any]) -> str:
    return f"waits for a person since {waiting['since']}: consilium-site approve {waiting['study']}"


def _describe_alone(training: dict[str, Any]) -> str:
    match training["state"]:
        case "open":
            return (
                "trains on this site's patients alone, or was interrupted; the next train-alone closes its account"
            )
        case "released":
            return f"trained on this site's patients alone; its model is in {training['release']}"
        case _:
            return "was to train on this site's patients alone, and has no model; what was paid stays paid"


def _describe_standing(study: dict[str, Any]) -> str:
    rounds = f"round {study['applied']} of {study['rounds']}"
    match study["state"]:
        case "withheld":
            return (
                f"{rounds}, finished; its model waits for a person: consilium-site release approve {study['study']}"
            )
        case "finished":
            if study["statistics"] is not None:
                return f"finished; the statistics of all sites are in {study['statistics']}"
            return f"{rounds}, finished; its model is in {study['release']}"
        case "ended":
            return f"{rounds}, ended here: the ledger has closed its account"
        case _:
            return f"{rounds}, open"


def list_site_facts(home: SiteFolder) -> dict[str, Any]:
    """List public facts of a site: names, public keys, rounds, the ledger's head."""
    from client.site.running import read_connection
    from client.study.store import StudyStore
    from client.study.waiting_studies import WaitingStudies
    from privacy.keys import PublicKey
    from privacy.ledger.entries import Admits
    from privacy.ledger.ledger import read_utc_time

    try:
        coordinator: str | None = PublicKey.from_text(home.load_admission().coordinator).typed
    except SiteConfigError:
        coordinator = None
    with home.open_ledger() as ledger:
        state = ledger.read_state()
        accounts = [item for account in state.accounts.values() for item in account.allowances.items()]
        closed = {study for study, allowance in accounts if allowance.closed}
        alone = sorted(study for study, _ in accounts if state.is_admitted_as(study, Admits.ALONE))
    link = read_connection(home)
    return {
        "site": home.config.name,
        "identity": home.load_identity().public.typed,
        "coordinator": coordinator,
        "peers": sorted(home.load_peers().find_believed(f"{read_utc_time():%Y-%m-%d}", home.config.name).keys),
        "populations": sorted({each.population for each in home.load_registry().registrations.values()}),
        "ledger": {"number": state.head.number, "hash": state.head.hash},
        "rolled_back": None if state.rollback is None else state.rollback.sentence,
        "running": None if link is None else link.model_dump(mode="json"),
        "waiting": [
            {"study": each.study, "since": each.since, "asked": each.asked}
            for each in WaitingStudies(home).list_all()
        ],
        "studies": [
            _list_study_facts(StudyStore(path.parent), closed)
            for path in sorted((home.folder / "studies").glob("*/state.json"))
        ],
        "alone": [_list_alone_facts(home, study, study in closed) for study in alone],
    }


def _list_alone_facts(home: SiteFolder, study: str, is_closed: bool) -> dict[str, Any]:
    """List where a training alone is: open, released with its model, or ended without one."""
    release = home.find_study_folder(study) / "release"
    state = "open" if not is_closed else "released" if release.is_dir() else "ended"
    return {"study": study, "state": state, "release": str(release) if state == "released" else None}


def _list_study_facts(store: StudyStore, closed: set[str]) -> dict[str, Any]:
    """List how far a study is: finished with its model, ended in the ledger (withdrawn, recovered), or open."""
    from client.study.statistics_file import STATISTICS_FILE

    state = "finished" if store.state.closed else "ended" if store.launch.study in closed else "open"
    if state == "finished" and find_withheld(store.folder) is not None:
        state = "withheld"
    counts = store.launch.terms.counts_only
    return {
        "study": store.launch.study,
        "applied": store.state.base,
        "rounds": store.launch.terms.training.rounds,
        "state": state,
        "release": str(store.folder / "release") if state == "finished" and not counts else None,
        "statistics": str(store.folder / STATISTICS_FILE) if state == "finished" and counts else None,
    }
