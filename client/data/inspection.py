"""Report what would be trained, and what is wrong or suspicious, before files are registered; for their owner only.

Rules:

* one pass reports everything: both files, every mistake, every suspicion, and what policy and population will
  decide;
* a **mistake** breaks the contract, and the files cannot be registered. A **warning** is asked about before they
  are. A **note** is shown only;
* sentences name columns or arrays, lines or records, and counts. The words of a mistake, and the lowest and highest
  number of an array, are shown at the owner's terminal and are in no document and no error.
"""

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from client.data.contents import Contents
from client.data.conversion.report import SnapshotReport
from client.data.dataset import compute_public_count
from client.data.encoding import ColumnCounts
from client.data.examples import Array
from client.data.mistakes import Mistake
from client.data.objections import Objections
from client.data.plausibility import describe_probable_meaning, format_word
from client.data.site_data import group_records, read_contents
from privacy.document import Document
from privacy.errors import DataError, DataUnavailableError
from privacy.study import AnyContract, TableContract
from privacy.study.data.tensors import Flags, Ids

Level = Literal["mistake", "warning", "note"]
Where = Literal["training", "test", "both", "sources", "site"]
_MOST_CLASSES: Final = 1000  # counted each


class TableFinding(Document):
    """One finding about the files.

    Attributes:
        level: whether it forbids the registration, is asked about, or is shown only.
        where: in which file, in both, in the sources that were converted, or about this site.
        sentence: what, by column or array and count.
        lines: where the first few are, in a table; each line from 1.
        records: where they are, in arrays; each record from 0.
        shown: the words there and their probable meaning, for the owner's terminal; in no document.
    """

    level: Level
    where: Where
    sentence: str
    lines: tuple[int, ...] = ()
    records: tuple[int, ...] = ()
    shown: tuple[str, ...] = Field(default=(), exclude=True, repr=False)


class ColumnReport(Document):
    """Counts of a feature's column, or of an array, over all of the file.

    ``lowest`` and ``highest`` are the ends of an array's numbers, for the owner's terminal; in no document.
    """

    name: str
    missing: int
    below: int
    above: int
    constant: bool
    lowest: float | None = Field(default=None, exclude=True, repr=False)
    highest: float | None = Field(default=None, exclude=True, repr=False)


class TargetReport(Document):
    """How often each class of a target occurs among the records that would be used.

    Attributes:
        name: of the tensor.
        classes: for an id, the records of each; for flags, those of each in which it is set; empty if not counted.
    """

    name: str
    type: Literal["number", "id", "flag"]
    classes: tuple[int, ...]


class TableReport(Document):
    """Counts of a file, and of the records that would be used.

    Attributes:
        file: its path.
        sha256: of its bytes.
        records: all of the file.
        patients: people in it.
        objecting: people in it who object, and whose records are not used.
        used: records that would be used.
        dropped: records beyond the contract's ``records_per_patient``.
        targets: what is predicted.
        columns: every feature, or every array.
    """

    file: str
    sha256: str
    records: int
    patients: int
    objecting: int
    used: int
    dropped: int
    targets: tuple[TargetReport, ...]
    columns: tuple[ColumnReport, ...]


class CheckReport(Document):
    """Two files against a contract (``consilium-site data check --json``), and the ``conversion`` that made them."""

    check: Literal[1] = 1
    contract: str
    contract_sha256: str
    conversion: SnapshotReport | None = None
    public_patients: int | None
    training: TableReport | None
    test: TableReport | None
    findings: tuple[TableFinding, ...]

    @property
    def mistakes(self) -> tuple[TableFinding, ...]:
        """The findings that forbid the registration."""
        return tuple(each for each in self.findings if each.level == "mistake")

    @property
    def warnings(self) -> tuple[TableFinding, ...]:
        """The findings that people are asked about."""
        return tuple(each for each in self.findings if each.level == "warning")

    def add_findings(self, more: Iterable[TableFinding]) -> "CheckReport":
        """Return the report with ``more`` findings at its end."""
        return self.model_copy(update={"findings": (*self.findings, *more)})

    def require_no_mistakes(self) -> None:
        """Refuse files that break the contract.

        Raises:
            DataError: every mistake, by column and count.
        """
        if self.mistakes:
            listed = "; ".join(
                f"{each.where} file: {each.sentence}" if each.where in ("training", "test") else each.sentence
                for each in self.mistakes
            )
            raise DataError(f"the files break the contract '{self.contract}': {listed}")


@dataclass(frozen=True)
class Inspected:
    """The report, and the normal forms of all patients in the files, which stay here."""

    report: CheckReport
    patients: frozenset[str]


def inspect_files(
    contract: AnyContract, train: Path, test: Path, objections: Objections | None = None
) -> Inspected:
    """Inspect both files as training would read them.

    Raises:
        DataUnavailableError: one cannot be read now.
    """
    found = list[TableFinding]()
    training, in_training = _inspect_file(contract, train, "training", objections, found)
    testing, in_test = _inspect_file(contract, test, "test", objections, found)
    if both := len(in_training & in_test):
        found.append(
            _make_finding("mistake", "both", f"{both} patients are in the training file and in the test file")
        )
    public = None
    if training is not None:
        try:
            public = compute_public_count(training.patients)
        except DataError as error:
            found.append(_make_finding("mistake", "training", str(error)))
    report = CheckReport(
        contract=contract.name,
        contract_sha256=contract.digest,
        public_patients=public,
        training=training,
        test=testing,
        findings=tuple(sorted(found, key=lambda each: ("mistake", "warning", "note").index(each.level))),
    )
    return Inspected(report, frozenset(in_training | in_test))


def _inspect_file(
    contract: AnyContract, path: Path, where: Where, objections: Objections | None, found: list[TableFinding]
) -> tuple[TableReport | None, Set[str]]:
    """Report one file and its patients; append the findings to ``found``."""
    try:
        contents = read_contents(contract, path)
    except DataUnavailableError:
        raise
    except DataError as error:
        found.append(_make_finding("mistake", where, str(error).removeprefix(f"{path}: ")))
        return None, frozenset()
    for mistake in contents.mistakes:
        found.append(_make_mistake_finding(contract, mistake, where))
    found += [_make_finding("warning", where, each) for each in contents.find_warnings()]
    found += [_make_finding("note", where, each) for each in contents.notes]
    everybody = frozenset(contents.ids)
    if not contents.ids or len(contents.targets) < len(contract.list_targets()):
        return None, everybody
    kept, _, names = group_records(contents.ids, contract.records_per_patient, objections)
    of_them = set(names)
    eligible = sum(name in of_them for name in contents.ids)
    report = TableReport(
        file=str(path),
        sha256=contents.sha256,
        records=len(contents.ids),
        patients=len(everybody),
        objecting=len(everybody) - len(names),
        used=len(kept),
        dropped=eligible - len(kept),
        targets=_count_classes(contract, contents, kept),
        columns=tuple(_make_column_report(count) for count in contents.counts),
    )
    found += _list_record_findings(contract, report, where)
    return report, everybody


def _count_classes(contract: AnyContract, contents: Contents, kept: NDArray[np.int64]) -> tuple[TargetReport, ...]:
    """Count the classes of every target among the records ``kept``; a mistaken value counts in none."""
    reports = list[TargetReport]()
    for tensor in contract.list_targets():
        classes: NDArray[np.int64] = np.empty(0, np.int64)
        array: Array = contents.targets[tensor.name]
        if isinstance(tensor, Ids) and not tensor.shape and tensor.values <= _MOST_CLASSES:
            ids = array[kept]
            classes = np.bincount(ids[(ids >= 0) & (ids < tensor.values)], minlength=tensor.values)
        elif isinstance(tensor, Flags) and len(tensor.shape) <= 1 and sum(tensor.shape) <= _MOST_CLASSES:
            classes = np.atleast_1d(array[kept].sum(axis=0, dtype=np.int64))
        reports.append(TargetReport(name=tensor.name, type=tensor.type, classes=tuple(classes.tolist())))
    return tuple(reports)


def _list_record_findings(contract: AnyContract, report: TableReport, where: Where) -> Iterator[TableFinding]:
    if report.dropped:
        level: Level = "warning" if report.dropped * 2 > report.records else "note"
        yield _make_finding(
            level,
            where,
            f"{report.dropped} of {report.records} records are dropped: records_per_patient is "
            f"{contract.records_per_patient}, and the first ones of each patient are kept",
        )
    if report.objecting:
        yield _make_finding(
            "note", where, f"{report.objecting} of {report.patients} patients object and are left out"
        )
    for column in report.columns:
        if column.constant:
            in_rows = isinstance(contract, TableContract) and Path(report.file).suffix != ".npz"
            what, whole = ("column", "row that has a value") if in_rows else ("array", "record")
            yield _make_finding("note", where, f"{what} '{column.name}': the same in every {whole}")


def _make_mistake_finding(contract: AnyContract, mistake: Mistake, where: Where) -> TableFinding:
    lines = [f"{mistake.unit} {place.number}: {format_word(place.word)}" for place in mistake.places]
    hint = ""
    if isinstance(contract, TableContract) and mistake.column and mistake.words:
        hint = describe_probable_meaning(contract, mistake.column, mistake.words)
    numbers = tuple(place.number for place in mistake.places)
    return TableFinding(
        level="mistake",
        where=where,
        sentence=mistake.sentence,
        lines=numbers if mistake.unit == "line" else (),
        records=numbers if mistake.unit == "record" else (),
        shown=(*lines, *([hint] if hint else [])),
    )


def _make_finding(level: Level, where: Where, sentence: str) -> TableFinding:
    return TableFinding(level=level, where=where, sentence=sentence)


def _make_column_report(count: ColumnCounts) -> ColumnReport:
    return ColumnReport(
        name=count.name,
        missing=count.missing,
        below=count.below,
        above=count.above,
        constant=count.constant,
        lowest=count.lowest,
        highest=count.highest,
    )
