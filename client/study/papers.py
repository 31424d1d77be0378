"""List the papers of this site's studies, for an export of its ledger (``privacy/ledger/papers.py``)."""

from collections.abc import Iterator

from client.site.folder import SiteFolder
from client.study.store import StudyStore
from models.tasks.registry import find_threshold, list_figures, make_task
from privacy.errors import WireError
from privacy.keys import PublicKey
from privacy.ledger import Ledger
from privacy.ledger.papers import Paper, Scores
from privacy.protocol.headers import Evaluated
from privacy.study import Terms


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
        yield Paper(
            launch=store.signed_launch,
            coordinator=coordinator,
            figures=list_figures(store.launch.terms.task, store.launch.terms.data),
            scores=tuple(_make_scores(store.launch.terms, each) for each in store.history.evaluations),
        )


def _make_scores(terms: Terms, totals: Evaluated) -> Scores:
    task, bins = make_task(terms.task, terms.data), terms.evaluation.bins
    return Scores(
        after_round=totals.round,
        patients=task.count_patients(totals.counts, bins),
        threshold=find_threshold(terms.task),
        figures=dict(task.compute_figures(totals.counts, bins)),
    )
