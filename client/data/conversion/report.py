"""Define what is said of a conversion: its sources, its records, and everything that was found in one pass.

A report stays at the site. It has names of files and columns, places and counts, and no value of a record.
"""

from collections.abc import Iterable
from typing import Literal, Self

from client.data.conversion.findings import Findings
from privacy.canonical import compute_digest
from privacy.document import Document
from privacy.errors import DataError
from privacy.study import Sha256


class FoundPlace(Document):
    """Where an item is: file or table, row or item within it from 1 (0: all of it), column or tag."""

    source: str
    row: int
    column: str


class LeftOut(Document):
    """How many items are in quarantine for one ``reason``, and the first few ``places`` of them."""

    reason: str
    count: int
    places: tuple[FoundPlace, ...]


class ConvertedColumn(Document):
    """What a column of a table holds in the records kept: of ``rows``, how many miss a value or are clipped."""

    name: str
    rows: int
    missing: int
    below: int
    above: int


class SnapshotReport(Document):
    """What a snapshot was made of, and what was found.

    Attributes:
        program: the version of the program that converted.
        contract_sha256: of the contract that the records keep.
        mapping_file: its path, and ``mapping_sha256`` the SHA-256 of its bytes.
        sources: the SHA-256 of everything that was read, by its name.
        files: the SHA-256 of the snapshot's files of records; empty if none were made.
        training: records for training; ``test``: held-out ones.
        mistakes: why the sources cannot be used; a snapshot has none.
        quarantined: items that were left out.
        months: records by the month in which they lie, "2026-03", where the source tells a date.
        columns: of a table.
        warnings: what is probably not meant.
        notes: what the owner may want to know.
    """

    snapshot: Literal[1] = 1
    program: str
    contract: str
    contract_sha256: Sha256
    mapping_file: str
    mapping_sha256: Sha256
    sources: dict[str, Sha256]
    files: dict[str, Sha256]
    training: int
    test: int
    mistakes: tuple[str, ...]
    quarantined: tuple[LeftOut, ...]
    months: dict[str, int]
    columns: tuple[ConvertedColumn, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of all that decides the records, and of the records: it names the snapshot's folder."""
        return compute_digest(
            {
                "program": self.program,
                "contract": self.contract_sha256,
                "mapping": self.mapping_sha256,
                "sources": self.sources,
                "files": self.files,
            }
        )

    def list_changes(self, newer: Self) -> list[str]:
        """List in what ``newer`` was made of something else, by the names of files and sources."""
        changes = [] if self.mapping_sha256 == newer.mapping_sha256 else ["the mapping file changed"]
        for verb, names in (
            ("changed", [name for name in self.sources if newer.sources.get(name, "") != self.sources[name]]),
            ("is new", [name for name in newer.sources if name not in self.sources]),
        ):
            gone = [name for name in names if name not in newer.sources]
            changes += [f"{name} {'is gone' if name in gone else verb}" for name in names]
        if not changes and self.files != newer.files:
            changes.append("this version of the program converts the same sources in another way")
        return changes


class ConversionError(DataError):
    """The sources cannot be used as the mapping says; ``report`` has everything that was found."""

    def __init__(self, report: SnapshotReport) -> None:
        self.report = report
        super().__init__(f"{report.mapping_file}: cannot be converted: {'; '.join(report.mistakes)}")


def list_left_out(findings: Findings) -> tuple[LeftOut, ...]:
    """List what is in quarantine, the most frequent reason first."""
    return tuple(
        LeftOut(reason=reason, count=count, places=_list_places(findings, reason))
        for reason, count in sorted(findings.counts.items(), key=lambda each: (-each[1], each[0]))
    )


def list_columns(findings: Findings) -> tuple[ConvertedColumn, ...]:
    """List what the columns of a table hold."""
    return tuple(ConvertedColumn(name=name, **each._asdict()) for name, each in findings.columns.items())


def describe_left_out(left_out: Iterable[LeftOut]) -> str:
    """Describe in one clause how many items were left out for each reason."""
    return "; ".join(f"{each.count} left out: {each.reason}" for each in left_out)


def _list_places(findings: Findings, reason: str) -> tuple[FoundPlace, ...]:
    return tuple(
        FoundPlace(source=place.source, row=place.row, column=place.column) for place in findings.list_shown(reason)
    )
