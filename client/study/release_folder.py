"""Where a finished model is kept: unpublished until the ledger has its release, and in ``release/`` from then on."""

import shutil
from pathlib import Path
from typing import Final

from privacy.errors import StorageError
from privacy.files import sync_folder

RELEASE: Final = "release"
UNPUBLISHED: Final = "unpublished"


def publish_release(study: Path) -> None:
    """Move the unpublished model to where released models are; the ledger has recorded its release.

    Run by a site. Called again after a crash, it finishes or changes nothing.

    Raises:
        StorageError: the disk cannot be written now.
    """
    unpublished, release = study / UNPUBLISHED, study / RELEASE
    if not unpublished.exists():
        return
    try:
        if release.exists():  # an earlier close wrote it, was interrupted, and wrote all of it again
            shutil.rmtree(release)
        unpublished.rename(release)
        sync_folder(study)
    except OSError as error:
        raise StorageError(f"{release}: cannot be written: {error.strerror}", "disk") from None


def find_withheld(study: Path) -> Path | None:
    """Return the folder of a model that is written and not released; None if there is none."""
    return study / UNPUBLISHED if (study / UNPUBLISHED).exists() else None
