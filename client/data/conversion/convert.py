"""Convert a hospital's data to a snapshot: two ``.npz`` files that keep the contract, and a report.

::

    data/CONTRACT-DIGEST/      one snapshot, 0700; never changed once it is there
        train.npz, test.npz      the records, as tensors (snapshot.py)
        snapshot.json            what was read and found (SnapshotReport)
        quarantine.csv           the places of what was left out

Rules:

* training uses a snapshot, never the source: what was registered cannot change while a study runs. The source may
  change; a new snapshot is then made and registered;
* it is made in a folder of another name and renamed when it is complete; Ctrl-C or a crash leaves no half snapshot;
* the same source, mapping and contract give the same snapshot;
* memory does not grow with the number of records, except for patients' identifiers.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from client.data.conversion.batch import Batch
from client.data.conversion.converters import Converter, Request, find_converter
from client.data.conversion.findings import Findings, Progress
from client.data.conversion.mapping import DataMapping, Splitter
from client.data.conversion.snapshot import SnapshotWriter
from privacy.canonical import compute_digest, compute_sha256
from privacy.document import Document, read_document, read_yaml
from privacy.errors import DataError, DataUnavailableError, SiteConfigError
from privacy.files import hold_lock, replace_file
from privacy.study import AnyContract, Sha256

REPORT_FILE: Final = "snapshot.json"
QUARANTINE_FILE: Final = "quarantine.csv"
_MAKING: Final = ".making-"


class SnapshotReport(Document):
    """What a snapshot was made of, and what was found; it stays at the site.

    Attributes:
        contract_sha256: of the contract that the records keep.
        mapping_file: its path, and ``mapping_sha256`` the SHA-256 of its bytes.
        sources: the SHA-256 of everything that was read, by its name.
        training: records for training; ``test``: held-out ones.
        quarantined: items that were left out, by reason.
        notes: what the owner may want to know.
    """

    snapshot: Literal[1] = 1
    contract: str
    contract_sha256: Sha256
    mapping_file: str
    mapping_sha256: Sha256
    sources: dict[str, Sha256]
    training: int
    test: int
    quarantined: dict[str, int]
    notes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of contract, mapping and sources: it names the snapshot's folder."""
        return compute_digest(
            {"contract": self.contract_sha256, "mapping": self.mapping_sha256, "sources": self.sources}
        )


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that is complete."""

    folder: Path
    report: SnapshotReport

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


def make_snapshot(
    contract: AnyContract,
    mapping_path: Path,
    data: Path,
    most_quarantined: float,
    report_progress: Progress | None = None,
) -> Snapshot:
    """Convert what ``mapping_path`` names and keep it under ``data``, the site's folder of snapshots.

    Args:
        contract: what the records must be.
        mapping_path: the mapping file.
        data: made if need be.
        most_quarantined: the largest share of items that may be left out, in [0, 1].
        report_progress: told how far it is.

    Raises:
        DataUnavailableError: a source cannot be read now.
        DataError: it cannot be converted; every mistake is named.
        SiteConfigError: the mapping cannot be used.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with hold_lock(data / ".lock"):  # one conversion at a time
        for left in data.glob(f"{_MAKING}*"):  # of a process that was killed
            shutil.rmtree(left)
        making = Path(tempfile.mkdtemp(prefix=_MAKING, dir=data))
        try:
            report = convert_to(contract, mapping_path, making, most_quarantined, report_progress)
            folder = data / f"{contract.name}-{report.digest[:16]}"
            if not folder.exists():
                making.rename(folder)
            return Snapshot(folder, report)
        finally:
            shutil.rmtree(making, ignore_errors=True)


def convert_to(
    contract: AnyContract,
    mapping_path: Path,
    folder: Path,
    most_quarantined: float,
    report_progress: Progress | None = None,
    *,
    with_targets: bool = True,
) -> SnapshotReport:
    """Convert into the empty private ``folder``; arguments and errors as of :func:`make_snapshot`.

    Without targets all records go to ``train.npz``, held out or not: they are for prediction.
    """
    converter, mapping = read_mapping(contract, mapping_path)
    findings = Findings(report_progress)
    scratch = folder / "scratch"
    scratch.mkdir(mode=0o700)
    request = Request(
        contract,
        mapping,
        mapping_path.parent,
        scratch,
        Splitter(mapping.split, mapping_path.parent),
        findings,
        with_targets,
    )
    with _open_writers(contract, folder, with_targets) as writers:
        for batch in converter.convert(request):
            _append(batch, writers, with_targets)
        shutil.rmtree(scratch)
        records = {part: writer.records for part, writer in writers.items()}
        _require_usable(findings, sum(records.values()), most_quarantined, mapping_path)
    replace_file(folder / QUARANTINE_FILE, findings.write_quarantine(), SiteConfigError)
    report = SnapshotReport(
        contract=contract.name,
        contract_sha256=contract.digest,
        mapping_file=str(mapping_path.resolve()),
        mapping_sha256=compute_sha256(mapping_path.read_bytes()),
        sources=findings.sources,
        training=records["train"],
        test=records.get("test", 0),
        quarantined=dict(findings.counts),
        notes=tuple(findings.notes),
    )
    replace_file(folder / REPORT_FILE, report.to_bytes(), SiteConfigError)
    return report


def read_report(folder: Path) -> SnapshotReport:
    """Read the report of the snapshot in ``folder``.

    Raises:
        SiteConfigError: it cannot be read.
    """
    return read_document(folder / REPORT_FILE, SnapshotReport, SiteConfigError, "make the snapshot again: data add")


@contextlib.contextmanager
def _open_writers(
    contract: AnyContract, folder: Path, with_targets: bool
) -> Iterator[Mapping[str, SnapshotWriter]]:
    tensors = (*contract.list_inputs(), *(contract.list_targets() if with_targets else ()))
    parts = ("train", "test") if with_targets else ("train",)
    writers = {part: SnapshotWriter(folder / f"{part}.npz", contract.patient, tensors) for part in parts}
    try:
        yield writers
        for writer in writers.values():
            writer.finish()
    except OSError as cause:
        raise DataUnavailableError(f"{folder.parent}: cannot be written: {cause.strerror}") from None
    except BaseException:
        for writer in writers.values():
            writer.discard()
        raise


def _append(batch: Batch, writers: Mapping[str, SnapshotWriter], with_targets: bool) -> None:
    chosen = {"train": [not held for held in batch.held_out], "test": list(batch.held_out)}
    if not with_targets:
        chosen = {"train": [True] * len(batch.patients)}
    for part, writer in writers.items():
        if any(chosen[part]):
            kept = [name for name, is_in in zip(batch.patients, chosen[part], strict=True) if is_in]
            writer.append(kept, {name: values[chosen[part]] for name, values in batch.tensors.items()})


def _require_usable(findings: Findings, records: int, most_quarantined: float, path: Path) -> None:
    if findings.mistakes:
        raise DataError(f"{path}: cannot be converted: {'; '.join(findings.mistakes)}")
    reasons = "; ".join(f"{count} {reason}" for reason, count in findings.counts.most_common())
    if not records:
        raise DataError(f"{path}: gives no record" + (f": {reasons}" if reasons else ""))
    share = findings.quarantined / (records + findings.quarantined)
    if share > most_quarantined:
        raise DataError(
            f"{path}: {findings.quarantined} of {records + findings.quarantined} items ({share:.2%}) cannot be used, "
            f"the policy's most_quarantined allows {most_quarantined:.2%}: {reasons}"
        )
