"""List the data files that are in use at a site, and remove the snapshots that are not.

In use are the files of every registration, and those of every study in progress: it keeps the ones with which it was
admitted (``client/study/state.py``), until its account is closed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client.data.conversion.kept_snapshots import remove_unused
from client.site.folder import SiteFolder
from client.study.held_budget import list_open_studies
from client.study.store import STATE_FILE, read_state


def remove_unused_snapshots(home: SiteFolder) -> int:
    """Remove the snapshots that no registration and no study in progress uses; return how many.

    Raises:
        SiteConfigError: what is in use cannot be read; nothing was removed.
        LedgerError, StorageError: the ledger cannot be read, or a snapshot not be removed.
    """
    return remove_unused(home.snapshots, _hold_used_files(home))


def list_used_files(home: SiteFolder) -> set[Path]:
    """List the training and test files that are in use.

    Raises:
        SiteConfigError: the state of a study, or the list of registered data, cannot be read.
        LedgerError, StorageError: the ledger cannot be believed, or not be read now.
    """
    registrations = list(home.load_registry().registrations.values())
    with home.open_ledger() as ledger:
        in_progress = list_open_studies(ledger.read_state())
    for study in in_progress:
        path = home.find_study_folder(study) / STATE_FILE
        if path.exists():  # else a crash interrupted its admission, which begins again with what is registered then
            state, _ = read_state(path.parent)
            registrations.append(state.registration)
    return {Path(file) for each in registrations for file in (each.train, each.test)}


@contextmanager
def _hold_used_files(home: SiteFolder) -> Iterator[set[Path]]:
    with home.hold_admissions():
        yield list_used_files(home)
