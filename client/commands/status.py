"""Collect the facts that ``consilium-site status`` prints."""

from typing import Any

from client.site.folder import SiteFolder
from client.site.running import read_connection
from client.study.release_folder import find_withheld
from client.study.statistics_file import STATISTICS_FILE
from client.study.store import StudyStore
from client.study.waiting_studies import WaitingStudies
from client.study.witness_check import find_rollback
from privacy.errors import SiteConfigError
from privacy.keys import PublicKey
from privacy.ledger.ledger import read_utc_time


def list_site_facts(home: SiteFolder) -> dict[str, Any]:
    """List public facts of a site: names, public keys, rounds, the ledger's head."""
    try:
        coordinator: str | None = PublicKey.from_text(home.load_admission().coordinator).typed
    except SiteConfigError:
        coordinator = None
    with home.open_ledger() as ledger:
        head, rollback = ledger.head, find_rollback(ledger)
        closed = {
            study
            for account in ledger.copy_state().accounts.values()
            for study, allowance in account.allowances.items()
            if allowance.closed
        }
    link = read_connection(home)
    return {
        "site": home.config.name,
        "identity": home.load_identity().public.typed,
        "coordinator": coordinator,
        "peers": sorted(home.load_peers().find_believed(f"{read_utc_time():%Y-%m-%d}", home.config.name).keys),
        "populations": sorted({each.population for each in home.load_registry().registrations.values()}),
        "ledger": {"number": head.number, "hash": head.hash},
        "rolled_back": None if rollback is None else rollback.sentence,
        "running": None if link is None else link.model_dump(mode="json"),
        "waiting": [
            {"study": each.study, "since": each.since, "asked": each.asked}
            for each in WaitingStudies(home).list_all()
        ],
        "studies": [
            _list_study_facts(StudyStore(path.parent), closed)
            for path in sorted((home.folder / "studies").glob("*/state.json"))
        ],
    }


def _list_study_facts(store: StudyStore, closed: set[str]) -> dict[str, Any]:
    """List how far a study is: finished with its model, ended in the ledger (withdrawn, recovered), or open."""
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
