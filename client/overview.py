"""What a site can say of itself, for ``consilium-site status``."""

from typing import Any

from client.home import SiteHome
from client.state import StudyStore
from privacy.errors import SiteConfigError
from privacy.keys import PublicKey


def overview(home: SiteHome) -> dict[str, Any]:
    """Public facts of a site: names, keys' public halves, rounds, the book's head."""
    try:
        coordinator: str | None = PublicKey.from_text(home.admission().coordinator).typed
    except SiteConfigError:
        coordinator = None
    with home.open_ledger() as ledger:
        head = ledger.head
    return {
        "site": home.config.name,
        "identity": home.identity().public.typed,
        "coordinator": coordinator,
        "peers": sorted(home.peers().pinned),
        "populations": sorted({each.population for each in home.registry().registrations.values()}),
        "ledger": {"number": head.number, "hash": head.hash},
        "studies": [
            _study(StudyStore(path.parent)) for path in sorted((home.folder / "studies").glob("*/state.json"))
        ],
    }


def _study(store: StudyStore) -> dict[str, Any]:
    return {
        "study": store.launch.study,
        "applied": store.state.base,
        "rounds": store.launch.terms.training.rounds,
        "state": "closed" if store.state.closed else "open",
    }
