"""Keep what a study of statistics has found in ``studies/NAME/statistics.json``: opened totals, public numbers."""

from typing import TYPE_CHECKING, Final

from models.tasks.statistics_document import describe_statistics
from privacy.errors import StorageError
from privacy.files import replace_file

if TYPE_CHECKING:
    from client.study.context import StudyContext  # which loads the sealing library

STATISTICS_FILE: Final = "statistics.json"


def write_statistics(context: "StudyContext") -> None:
    """Write the figures that all sites have opened together; nothing of this site alone is in them.

    Run by a site at the end. Every site that was in the same cohort writes the same bytes.
    """
    for totals in context.history.evaluations:
        sites = next(each.sites for each in context.history.applied if each.round == totals.opened_in)
        document = describe_statistics(context.launch.study, context.terms, totals.counts, sites)
        replace_file(context.store.folder / STATISTICS_FILE, document.to_bytes() + b"\n", StorageError)
