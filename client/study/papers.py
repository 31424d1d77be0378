"""List the papers of this site's studies, for an export of its ledger (``privacy/ledger/papers.py``)."""

from collections.abc import Iterator
from dataclasses import asdict

from client.site.folder import SiteFolder
from client.study.store import StudyStore
from models.tasks.binary import THRESHOLD, compute_metrics
from privacy.errors import WireError
from privacy.keys import PublicKey
from privacy.ledger import Ledger
from privacy.ledger.papers import Paper, Scores


def list_papers(home: SiteFolder, ledger: Ledger) -> Iterator[Paper]:
    """Yield what this site still has of the studies that its ledger has admitted; a study's folder may be missing.

    Run by a site.

    Raises:
        SiteConfigError: a study's files are damaged.
    """
    for path in sorted((home.folder / "studies").glob("*/state.json")):
        store = StudyStore(path.parent)
        allowed, coordinator = (
            ledger.read_state().find_allowance(store.launch.study),
            home.load_admission().coordinator,
        )
        if allowed is None or allowed.terms != store.launch.terms.digest:
            continue
        try:
            store.signed_launch.verify(PublicKey.from_text(coordinator))
        except WireError:
            continue  # launched under a coordinator's key that was changed since
        scores = (
            Scores(after_round=each.round, threshold=THRESHOLD, **asdict(compute_metrics(each.counts)))
            for each in store.state.evaluations
        )
        yield Paper(launch=store.signed_launch, coordinator=coordinator, scores=tuple(scores))
