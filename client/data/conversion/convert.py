"""Convert a hospital's data to ``.npz`` files that keep the contract, in bounded memory.

Rules:

* the same source, mapping, contract and program give the same files;
* everything that is wrong is found in one pass, whatever else is wrong; only then is it decided whether the sources can
  be used (:class:`~client.data.conversion.report.ConversionError`);
* memory does not grow with the number of records, except for patients' identifiers.

Snapshots, which last, are in ``kept_snapshots.py``; :func:`convert_for_prediction` makes files for one command.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from client.data.conversion.batch import Batch
from client.data.conversion.converters import Converter, Request, find_converter
from client.data.conversion.findings import Findings, Progress
from client.data.conversion.mapping import DataMapping, SplitByFraction, Splitter
from client.data.conversion.report import (
    ConversionError,
    SnapshotReport,
    describe_left_out,
    list_columns,
    list_left_out,
)
from client.data.conversion.snapshot import SnapshotWriter
from privacy.canonical import compute_sha256
from privacy.document import read_yaml
from privacy.errors import DataError, DataUnavailableError, SiteConfigError, StorageError
from privacy.files import hold_lock, replace_file, take_lock
from privacy.study import AnyContract

REPORT_FILE: Final = "snapshot.json"
QUARANTINE_FILE: Final = "quarantine.csv"
_PREFIX: Final = "consilium-records-"
_LOCK: Final = ".lock"
_JUST_MADE_S: Final = 60.0  # of a folder whose process may not hold it yet


class Converted(NamedTuple):
    """Files of one conversion for prediction: the ``records``, and what was found."""

    records: Path
    report: SnapshotReport


class Conversion(Protocol):
    """A conversion, in this process (:func:`convert_to`) or in another (``client/training/confined_conversion.py``)."""

    def __call__(
        self,
        contract: AnyContract,
        mapping_path: Path,
        folder: Path,
        most_quarantined: float,
        report_progress: Progress | None = None,
        *,
        with_targets: bool = True,
        divided: bool = True,
    ) -> SnapshotReport:
        """Convert as :func:`convert_to` does."""
        ...


def read_mapping(contract: AnyContract, path: Path) -> tuple[Converter, DataMapping]:
    """Read the mapping file ``path`` for ``contract``.

    Raises:
        SiteConfigError: it cannot be read, has mistakes, or leads to another contract.
    """
    converter = find_converter(contract)
    mapping = read_yaml(path, converter.mapping, SiteConfigError)
    if mapping.contract != contract.name:
        raise SiteConfigError(
            f"{path}: leads to the contract '{mapping.contract}', the study's is '{contract.name}'; write a mapping "
            "for it"
        )
    return converter, mapping


@contextlib.contextmanager
def convert_for_prediction(
    contract: AnyContract,
    mapping_path: Path,
    report_progress: Progress | None = None,
    *,
    convert: Conversion,
    with_targets: bool = False,
) -> Iterator[Converted]:
    """Convert all records into one file, whatever the mapping's split; it is removed at the end of the block.

    No share of items that are left out is too large: what is left out gets no prediction, and the report says so.
    Targets are for figures of the predictions. ``convert`` does the work.

    Raises:
        DataUnavailableError, DataError, SiteConfigError, StorageError: as of :func:`convert_to`.
    """
    _remove_left_folders()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name, hold_lock(Path(name) / _LOCK):  # 0700
        folder = Path(name)
        report = convert(
            contract, mapping_path, folder, 1.0, report_progress, with_targets=with_targets, divided=False
        )
        yield Converted(folder / "train.npz", report)


def convert_to(
    contract: AnyContract,
    mapping_path: Path,
    folder: Path,
    most_quarantined: float,
    report_progress: Progress | None = None,
    *,
    with_targets: bool = True,
    divided: bool = True,
) -> SnapshotReport:
    """Convert what ``mapping_path`` names into the empty private ``folder``.

    Args:
        contract: what the records must be.
        mapping_path: the mapping file.
        folder: gets ``train.npz``, ``test.npz``, the report and the places of what was left out; these two also where
            the sources cannot be used.
        most_quarantined: the largest share of items that may be left out, in [0, 1].
        report_progress: told how far it is.
        with_targets: whether the targets are wanted too.
        divided: whether the mapping's split is followed; otherwise all records go to ``train.npz``.

    Raises:
        DataUnavailableError: a source cannot be read now.
        ConversionError: the sources cannot be used; it has every mistake.
        SiteConfigError: the mapping cannot be used.
        StorageError: the folder cannot be written.
    """
    converter, mapping = read_mapping(contract, mapping_path)
    mapping_sha256 = compute_sha256(mapping_path.read_bytes())
    findings = Findings(report_progress)
    scratch = folder / "scratch"
    scratch.mkdir(mode=0o700)
    splitter = Splitter(mapping.split if divided else SplitByFraction(by="fraction", test=0.5), mapping_path.parent)
    request = Request(contract, mapping, mapping_path.parent, scratch, splitter, findings, with_targets)
    records, files = dict[str, int](), dict[str, str]()
    try:
        with _open_writers(contract, folder, ("train", "test") if divided else ("train",), with_targets) as writers:
            for batch in converter.convert(request):
                _append(batch, writers)
            records = {part: writer.records for part, writer in writers.items()}
        files = {f"{part}.npz": _compute_file_digest(folder / f"{part}.npz") for part in records}
    except DataUnavailableError:
        raise
    except DataError as error:  # nothing more can be read: what was found until then is told too
        findings.add_mistake(str(error))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    findings.sources.update(splitter.sources)
    if unmet := splitter.count_unmet():
        findings.add_note(f"split: {unmet} patients of the list of held-out ones have no record that can be used")
    _judge(findings, sum(records.values()), most_quarantined)
    report = SnapshotReport(
        program=importlib.metadata.version("consilium"),
        contract=contract.name,
        contract_sha256=contract.digest,
        mapping_file=str(mapping_path.resolve()),
        mapping_sha256=mapping_sha256,
        sources=dict(sorted(findings.sources.items())),
        files={} if findings.mistakes else files,
        training=records.get("train", 0),
        test=records.get("test", 0),
        mistakes=tuple(findings.mistakes),
        quarantined=list_left_out(findings),
        months=dict(sorted(findings.months.items())),
        columns=list_columns(findings),
        warnings=tuple(findings.warnings),
        notes=tuple(findings.notes),
    )
    replace_file(folder / QUARANTINE_FILE, findings.write_quarantine(), StorageError)
    replace_file(folder / REPORT_FILE, report.to_bytes(), StorageError)
    if findings.mistakes:
        raise ConversionError(report)
    return report


def _remove_left_folders() -> None:
    """Remove what killed processes of this user have left: folders that nobody holds, and that are not just made."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process removes it too
            status = left.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                continue
            if time.time() - status.st_mtime > _JUST_MADE_S and (lock := take_lock(left / _LOCK)) is not None:
                shutil.rmtree(left)
                os.close(lock)


@contextlib.contextmanager
def _open_writers(
    contract: AnyContract, folder: Path, parts: Sequence[str], with_targets: bool
) -> Iterator[Mapping[str, SnapshotWriter]]:
    """Open a writer for each part; if the block raises, nothing of them is left.

    Raises:
        StorageError: the folder cannot be written.
    """
    tensors = (*contract.list_inputs(), *(contract.list_targets() if with_targets else ()))
    writers = dict[str, SnapshotWriter]()
    try:
        for part in parts:
            writers[part] = SnapshotWriter(folder / f"{part}.npz", contract.patient, tensors)
        yield writers
        for writer in writers.values():
            writer.finish()
    except BaseException as cause:
        for writer in writers.values():
            writer.discard()
        if isinstance(cause, OSError):
            raise StorageError(
                f"{folder.parent}: the converted records cannot be written: {cause.strerror}; make room, then "
                "convert again"
            ) from None
        raise


def _append(batch: Batch, writers: Mapping[str, SnapshotWriter]) -> None:
    """Append records to the part that they belong to, if there are two."""
    chosen = {"train": [not held for held in batch.held_out], "test": list(batch.held_out)}
    if "test" not in writers:
        chosen = {"train": [True] * len(batch.patients)}
    for part, writer in writers.items():
        if any(chosen[part]):
            kept = [name for name, is_in in zip(batch.patients, chosen[part], strict=True) if is_in]
            writer.append(kept, {name: values[chosen[part]] for name, values in batch.tensors.items()})


def _judge(findings: Findings, records: int, most_quarantined: float) -> None:
    """Add the mistakes that concern all items together: none is left, or too many were left out."""
    reasons = describe_left_out(list_left_out(findings))
    if not records and not findings.mistakes:
        findings.add_mistake("gives no record" + (f": {reasons}" if reasons else ""))
    items = records + findings.quarantined
    if records and findings.quarantined > most_quarantined * items:
        findings.add_mistake(
            f"{findings.quarantined} of {items} items ({findings.quarantined / items:.2%}) cannot be used, the "
            f"policy's most_quarantined allows {most_quarantined:.2%}: {reasons}; mend them, or the mapping"
        )


def _compute_file_digest(path: Path) -> str:
    """Compute the SHA-256 of a file, and make its bytes durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
