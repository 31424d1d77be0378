"""Read the two files of a study: checked against its contract, the same bytes as registered, no patient in both.

Rules:

* everything that is wrong is reported at once, by column or array and by count; never a value, never a patient;
* ``client/data/site_data.py`` reads files of every kind, and decides which records belong to one patient;
* a patient is in the training file or in the test file, never in both;
* what is trained on is what was registered: the file's SHA-256 is checked at every read.

The public patient count (:func:`compute_public_count`) is the only figure of these that others may see.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from client.data.objections import Objections
from client.data.site_data import SiteData, read_data
from privacy.accounting.account import PUBLIC_COUNT_STEP
from privacy.errors import DataError, DataUnavailableError
from privacy.study import AnyContract


@dataclass(frozen=True)
class StudyFiles:
    """A site's data for one study, as registered: the contract, two files, their digests, the count others may see.

    Patients who object are left out; the files and the count stay as they were registered. ``weights`` is the file
    of public weights that the study begins with, if it does.
    """

    contract: AnyContract
    train: Path
    test: Path
    train_sha256: str
    test_sha256: str
    public_patients: int
    objections: Objections | None = None
    weights: Path | None = None


def compute_public_count(patients: int) -> int:
    """Round the number of patients down to a multiple of ten.

    The site publishes this count, and divides its gradients by it. It changes only where one patient more or less
    crosses a multiple of ten. It is published once, at registration; it is a registered fact, not covered by
    epsilon.

    Raises:
        DataError: fewer than ten patients.
    """
    if patients < PUBLIC_COUNT_STEP:
        raise DataError(f"expected at least {PUBLIC_COUNT_STEP} training patients, got {patients}")
    return patients // PUBLIC_COUNT_STEP * PUBLIC_COUNT_STEP


def make_study_files(contract: AnyContract, train: Path, test: Path) -> tuple[StudyFiles, frozenset[str]]:
    """Check both files and fix the data of a study; return them, and every patient's identifier.

    Raises:
        DataError: as :func:`read_data`, or the files share patients, or there are too few.
    """
    training, testing = read_data(contract, train), read_data(contract, test)
    _require_disjoint(training, testing)
    count = compute_public_count(training.patients.patients)
    files = StudyFiles(contract, train, test, training.sha256, testing.sha256, count)
    return files, frozenset(training.ids) | frozenset(testing.ids)


def require_registered(files: StudyFiles) -> None:
    """Refuse files that cannot be read now, or are not those that were registered.

    Only the digest of the files is computed, so that the answer reveals nothing about a record.

    Raises:
        DataUnavailableError: a file cannot be read now.
        DataError: a file changed since it was registered.
    """
    for path, registered in ((files.train, files.train_sha256), (files.test, files.test_sha256)):
        try:
            with path.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as cause:
            raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None
        if found != registered:
            raise DataError(f"{path}: the file changed since it was registered; register the new data first")


def read_study(files: StudyFiles) -> tuple[SiteData, SiteData]:
    """Read the training and the test data: those registered, under the contract they were registered with.

    Patients who object are left out, even if all of them do.

    Raises:
        DataUnavailableError, DataError: as :func:`require_registered`.
    """
    require_registered(files)
    training = read_data(files.contract, files.train, files.objections)
    testing = read_data(files.contract, files.test, files.objections)
    for path, data, registered in (
        (files.train, training, files.train_sha256),
        (files.test, testing, files.test_sha256),
    ):
        if data.sha256 != registered:  # replaced after require_registered read it
            raise DataError(f"{path}: the file changed since it was registered; register the new data first")
    _require_disjoint(training, testing)
    return training, testing


def _require_disjoint(training: SiteData, testing: SiteData) -> None:
    if both := len(set(training.ids) & set(testing.ids)):
        raise DataError(f"{both} patients are in the training file and in the test file; keep each in one of them")
