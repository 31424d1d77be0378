"""Report what would be trained, and what is wrong or suspicious, before a table is registered; for its owner only.

Rules:

* one pass reports everything: both files, every mistake, every suspicion, and what policy and population will
  decide;
* a **mistake** breaks the contract, and the files cannot be registered. A **warning** is asked about before they
  are. A **note** is shown only;
* sentences name columns, lines and counts. The words of a mistake are shown at the owner's terminal and are in no
  document and no error (:attr:`Discrepancy.shown` is never written out).
"""

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from client.data.adapters.csv import Mistake, read_words
from client.data.dataset import compute_public_count
from client.data.encoding import ColumnCounts, encode_features, encode_labels, name_patients
from client.data.objections import Objections
from client.data.plausibility import describe_probable_meaning, find_suspicions, format_word
from client.data.table import group_records, list_columns
from privacy.document import Document
from privacy.errors import DataError, DataUnavailableError
from privacy.study import DataContract

Level = Literal["mistake", "warning", "note"]
Where = Literal["training", "test", "both", "site"]


class TableFinding(Document):
    """One finding about the files.

    Attributes:
        level: whether it forbids the registration, is asked about, or is shown only.
        where: in which file, in both, or about this site.
        sentence: what, by column and count.
        lines: where the first few are.
        shown: the words there and their probable meaning, for the owner's terminal; in no document.
    """

    level: Level
    where: Where
    sentence: str
    lines: tuple[int, ...] = ()
    shown: tuple[str, ...] = Field(default=(), exclude=True, repr=False)


class ColumnReport(Document):
    """Counts of a feature's column, over all rows of the file."""

    name: str
    missing: int
    below: int
    above: int
    constant: bool


class TableReport(Document):
    """Counts of a file, and of the records that would be used.

    Attributes:
        file: its path.
        sha256: of its bytes.
        records: rows of the file.
        patients: people in it.
        objecting: people in it who object, and whose records are not used.
        used: records that would be used.
        dropped: records beyond the contract's ``records_per_patient``.
        positive: used records with a positive label.
        negative: used records with a negative one.
        columns: every feature.
    """

    file: str
    sha256: str
    records: int
    patients: int
    objecting: int
    used: int
    dropped: int
    positive: int
    negative: int
    columns: tuple[ColumnReport, ...]


class CheckReport(Document):
    """Two files against a contract (``consilium-site data check --json``)."""

    check: Literal[1] = 1
    contract: str
    contract_sha256: str
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
                each.sentence if each.where == "both" else f"{each.where} file: {each.sentence}"
                for each in self.mistakes
            )
            raise DataError(f"the files break the contract '{self.contract}': {listed}")


@dataclass(frozen=True)
class Inspected:
    """The report, and the normal forms of all patients in the files, which stay here."""

    report: CheckReport
    patients: frozenset[str]


def inspect_files(
    contract: DataContract, train: Path, test: Path, objections: Objections | None = None
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
    contract: DataContract, path: Path, where: Where, objections: Objections | None, found: list[TableFinding]
) -> tuple[TableReport | None, Set[str]]:
    """Report one file and its patients; append the findings to ``found``."""
    try:
        words = read_words(path, list_columns(contract))
    except DataUnavailableError:
        raise
    except DataError as error:
        found.append(_make_finding("mistake", where, str(error).removeprefix(f"{path}: ")))
        return None, frozenset()
    mistakes = list(words.mistakes)
    ids, labels = name_patients(contract, words, mistakes), encode_labels(contract, words, mistakes)
    encoded = encode_features(contract, words)
    for mistake in (*mistakes, *encoded.mistakes):
        found.append(_make_mistake_finding(contract, mistake, where))
    found += [_make_finding("warning", where, each) for each in find_suspicions(contract, words, encoded.counts)]
    everybody = frozenset(ids)
    if contract.patient not in words.columns or contract.label.name not in words.columns:
        return None, everybody
    kept, _, names = group_records(ids, contract.records_per_patient, objections)
    of_them = set(names)
    eligible = sum(name in of_them for name in ids)
    report = TableReport(
        file=str(path),
        sha256=words.sha256,
        records=len(ids),
        patients=len(everybody),
        objecting=len(everybody) - len(names),
        used=len(kept),
        dropped=eligible - len(kept),
        positive=int(labels[kept].sum()),
        negative=int((labels[kept] == 0).sum()),
        columns=tuple(_make_column_report(count) for count in encoded.counts),
    )
    found += _list_record_findings(contract, report, where)
    return report, everybody


def _list_record_findings(contract: DataContract, report: TableReport, where: Where) -> Iterator[TableFinding]:
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
            yield _make_finding("note", where, f"column '{column.name}': the same in every row that has a value")


def _make_mistake_finding(contract: DataContract, mistake: Mistake, where: Where) -> TableFinding:
    lines = [f"line {place.line}: {format_word(place.word)}" for place in mistake.places]
    hint = (
        describe_probable_meaning(contract, mistake.column, mistake.words)
        if mistake.column and mistake.words
        else ""
    )
    return TableFinding(
        level="mistake",
        where=where,
        sentence=mistake.sentence,
        lines=tuple(place.line for place in mistake.places),
        shown=(*lines, *([hint] if hint else [])),
    )


def _make_finding(level: Level, where: Where, sentence: str) -> TableFinding:
    return TableFinding(level=level, where=where, sentence=sentence)


def _make_column_report(count: ColumnCounts) -> ColumnReport:
    return ColumnReport(
        name=count.name, missing=count.missing, below=count.below, above=count.above, constant=count.constant
    )
