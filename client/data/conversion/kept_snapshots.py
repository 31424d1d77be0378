"""Keep snapshots of a hospital's data in the site's folder: make them, find them again, remove what nobody uses.

::

    data/CONTRACT-DIGEST/      one snapshot, 0700; never changed once it is there
        train.npz, test.npz      the records, as tensors (snapshot.py)
        snapshot.json            what was read and found (report.py)
        quarantine.csv           the places of what was left out
    data/refused.csv           the places of what the last conversion left out, if its sources could not be used

Rules:

* training uses a snapshot, never the source: what was registered cannot change while a study runs. The source may
  change; a new snapshot is then made and registered;
* a snapshot is made in a folder of another name and renamed when it is complete: Ctrl-C or a crash leaves no half
  snapshot, and what they leave is removed next time;
* one conversion at a time; a snapshot in a process's hands is not removed (flock(2) on its report);
* sources that are files alone are not converted again while contract, mapping, program and their digests are the same.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from client.data.conversion.convert import QUARANTINE_FILE, REPORT_FILE, Conversion, convert_to, read_mapping
from client.data.conversion.findings import Progress
from client.data.conversion.mapping import SplitByPatients
from client.data.conversion.report import ConversionError, SnapshotReport
from privacy.canonical import compute_sha256
from privacy.document import read_document
from privacy.errors import SiteConfigError, StorageError
from privacy.files import hold_lock, sync_folder
from privacy.study import AnyContract

REFUSED_FILE: Final = "refused.csv"
_LOCK: Final = ".lock"
_MAKING: Final = ".making-"


class _Hold:
    """A snapshot in this process's hands: while this object lives, nobody removes it."""

    def __init__(self, folder: Path) -> None:
        descriptor = os.open(folder / REPORT_FILE, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that is complete."""

    folder: Path
    report: SnapshotReport
    hold: _Hold | None = field(default=None, repr=False, compare=False)

    @property
    def train(self) -> Path:
        """The file of the training records."""
        return self.folder / "train.npz"

    @property
    def test(self) -> Path:
        """The file of the held-out records."""
        return self.folder / "test.npz"

    @property
    def quarantine(self) -> Path:
        """The list of what was left out."""
        return self.folder / QUARANTINE_FILE


def make_snapshot(
    contract: AnyContract,
    mapping_path: Path,
    data: Path,
    most_quarantined: float,
    report_progress: Progress | None = None,
    *,
    convert: Conversion = convert_to,
) -> Snapshot:
    """Convert what ``mapping_path`` names and keep it under ``data``, or return the snapshot that is there already.

    Args:
        contract: what the records must be.
        mapping_path: the mapping file.
        data: the site's folder of snapshots, made if need be.
        most_quarantined: the largest share of items that may be left out, in [0, 1].
        report_progress: told how far it is.
        convert: does the work; without it this process does.

    Raises:
        DataUnavailableError: a source cannot be read now.
        ConversionError: the sources cannot be used; it has every mistake.
        SiteConfigError: the mapping cannot be used.
        StorageError: the folder cannot be written.
    """
    read_mapping(contract, mapping_path)  # refused before anything is made
    with _open_folder(data):
        if (current := find_current(contract, mapping_path, data)) is not None:
            return dataclasses.replace(current, hold=_Hold(current.folder))
        making = Path(tempfile.mkdtemp(prefix=_MAKING, dir=data))
        try:
            report = convert(contract, mapping_path, making, most_quarantined, report_progress)
            folder = data / f"{contract.name}-{report.digest[:16]}"
            if folder.exists() and not is_intact(folder, report):
                shutil.rmtree(folder)  # damaged: what is registered by its digest is the same again
            if not folder.exists():
                making.rename(folder)
                sync_folder(data)
            (data / REFUSED_FILE).unlink(missing_ok=True)
            return Snapshot(folder, report, _Hold(folder))
        except ConversionError as error:
            if error.report.quarantined:
                (making / QUARANTINE_FILE).replace(data / REFUSED_FILE)
            raise
        finally:
            shutil.rmtree(making, ignore_errors=True)


def find_current(contract: AnyContract, mapping_path: Path, data: Path) -> Snapshot | None:
    """Find the snapshot of what ``mapping_path`` names now, by the digests of its files.

    Returns:
        None if there is none, or if only reading the sources tells, as with a database.
    """
    converter, mapping = read_mapping(contract, mapping_path)
    files = converter.list_files(mapping)
    if files is None:
        return None
    if isinstance(mapping.split, SplitByPatients):
        files = {**files, str(mapping.split.test): mapping.split.test}
    wanted = (contract.digest, compute_sha256(mapping_path.read_bytes()), importlib.metadata.version("consilium"))
    for folder in _list_folders(data):
        with contextlib.suppress(SiteConfigError):  # one that is damaged is made again
            report = read_report(folder)
            if (
                (report.contract_sha256, report.mapping_sha256, report.program) == wanted
                and report.sources.keys() == files.keys()
                and _have_digests(
                    {mapping_path.parent / files[name]: each for name, each in report.sources.items()}
                )
                and is_intact(folder, report)
            ):
                return Snapshot(folder, report)
    return None


def is_intact(folder: Path, report: SnapshotReport) -> bool:
    """Return whether the records of a snapshot are those that were made; all of them are read."""
    return _have_digests({folder / name: sha256 for name, sha256 in report.files.items()})


def find_snapshot(file: Path, data: Path) -> Snapshot | None:
    """Return the snapshot that holds ``file``; None if it is in none.

    Raises:
        SiteConfigError: its report cannot be read.
    """
    folder = file.parent
    if folder.parent.resolve() != data.resolve() or not (folder / REPORT_FILE).exists():
        return None
    return Snapshot(folder, read_report(folder))


def read_report(folder: Path) -> SnapshotReport:
    """Read the report of the snapshot in ``folder``.

    Raises:
        SiteConfigError: it cannot be read.
    """
    return read_document(folder / REPORT_FILE, SnapshotReport, SiteConfigError, "make the snapshot again: data add")


def remove_unused(data: Path, hold_used: AbstractContextManager[Collection[Path]]) -> int:
    """Remove every snapshot under ``data`` that holds no file in use; return how many were removed.

    Args:
        data: the site's folder of snapshots.
        hold_used: gives the files in use, and keeps anybody from beginning to use another one meanwhile. It is held
            for a moment, and not while a conversion is waited for.

    Raises:
        StorageError: a snapshot cannot be removed.
    """
    if not data.exists():
        return 0
    going = list[Path]()
    with _open_folder(data):
        with hold_used as used:
            kept = {file.parent.resolve() for file in used}
            for folder in _list_folders(data):
                if folder.resolve() not in kept and not _is_held(folder):
                    # a name under which no half of it is found
                    going.append(folder.rename(folder.with_name(f"{_MAKING}{folder.name}")))
        for folder in going:
            shutil.rmtree(folder)
    return len(going)


def count_bytes(data: Path) -> int:
    """Count the bytes of all snapshots under ``data``."""
    return sum(file.stat().st_size for folder in _list_folders(data) for file in folder.iterdir())


def _is_held(folder: Path) -> bool:
    with (folder / REPORT_FILE).open("rb") as report:
        try:
            fcntl.flock(report, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _list_folders(data: Path) -> Iterable[Path]:
    return sorted(path.parent for path in data.glob(f"*/{REPORT_FILE}") if not path.parent.name.startswith("."))


@contextlib.contextmanager
def _open_folder(data: Path) -> Iterator[None]:
    """Hold the folder of snapshots, without what a killed process has left in it.

    Raises:
        StorageError: it cannot be made or written.
    """
    try:
        data.mkdir(mode=0o700, exist_ok=True)
        with hold_lock(data / _LOCK):
            for left in data.glob(f"{_MAKING}*"):
                shutil.rmtree(left)
            yield
    except OSError as cause:
        raise StorageError(f"{cause.filename or data}: cannot be written: {cause.strerror}") from None


def _have_digests(files: Mapping[Path, str]) -> bool:
    """Return whether every file is there and has its SHA-256."""
    for path, sha256 in files.items():
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    return False
        except OSError:
            return False
    return True
