"""Read small tables beside the records, such as the labels of samples: words that are found by a key.

A mapping names each::

    tables:
      - source: {kind: csv, path: samples.csv}
        match: {sample_id: sample}       # the table's column: the record's word
        columns: {label: diagnosis}   # the word that is taken: the table's column

Rules:

* keys are compared in the normal form of identifiers (``client/data/identifiers.py``);
* a key may stand in the table several times if its words are the same; otherwise it is ambiguous, a mistake;
* the table is held in memory: a key and its words for each of its rows.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from client.data.adapters.bed import BedFile
from client.data.conversion.findings import Findings
from client.data.conversion.sources import CsvSource, ExcelSource, ParquetSource, SqlSource, open_rows
from client.data.identifiers import normalise
from privacy.document import Document
from privacy.fields import Column

Key = tuple[str, ...]


class BedTable(Document):
    """The intervals of a BED file as a table: chrom, start, end, name, score, strand, column7 and so on."""

    kind: Literal["bed"]
    path: Path

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.path.name


class ClsTable(Document):
    """The classes of a CLS file, which belongs to a GCT file: sample (its number from 1) and class."""

    kind: Literal["cls"]
    path: Path

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.path.name


TableSource = Annotated[
    CsvSource | ExcelSource | ParquetSource | SqlSource | BedTable | ClsTable, Field(discriminator="kind")
]


class JoinedTable(Document):
    """A table whose words are added to the records.

    Attributes:
        source: where it is.
        match: the columns that are the key, each with the word of the record that it must equal.
        columns: the words that are taken, each with the table's column.
    """

    source: TableSource
    match: dict[Column, Column] = Field(min_length=1)
    columns: dict[Column, Column] = Field(min_length=1)

    @property
    def mark(self) -> str:
        """The decimal mark of its numbers."""
        return "." if isinstance(self.source, BedTable | ClsTable) else self.source.decimal_mark


class _Row(NamedTuple):
    words: Mapping[str, str]
    place: int


class JoinedWords:
    """The words of a table, by key."""

    def __init__(self, table: JoinedTable, folder: Path, findings: Findings) -> None:
        """Read ``table``; what is wrong with it goes to ``findings``.

        Raises:
            DataUnavailableError: it cannot be read now.
            DataError: it is not what it should be.
        """
        self.table = table
        self.title = table.source.title
        self._words = dict[Key, Key]()
        ambiguous = set[Key]()
        for words, place in _read_rows(table, folder, findings):
            key = tuple(normalise(words.get(column, "")) for column in table.match)
            taken = tuple(words.get(column, "") for column in table.columns.values())
            if not all(key):
                findings.quarantine("has no key", self.title, place)
            elif self._words.setdefault(key, taken) != taken:
                ambiguous.add(key)
        if ambiguous:
            findings.add_mistake(
                f"{self.title}: {len(ambiguous)} keys ({', '.join(table.match)}) stand in several rows with different "
                "words; leave one row of each, or name more columns in 'match'"
            )

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._words)

    def find(self, words: Mapping[str, str]) -> dict[str, str] | None:
        """Return the words that the table adds to a record with ``words``; None if it has no row for it."""
        key = tuple(normalise(words.get(name, "")) for name in self.table.match.values())
        found = self._words.get(key)
        return None if found is None else dict(zip(self.table.columns, found, strict=True))


def _read_rows(table: JoinedTable, folder: Path, findings: Findings) -> Iterator[_Row]:
    source, columns = table.source, [*table.match, *table.columns.values()]
    if isinstance(source, BedTable):
        yield from _read_bed(source, columns, folder, findings)
    elif isinstance(source, ClsTable):
        yield from _read_classes(source, columns, folder, findings)
    else:
        for chunk in open_rows(source, folder, columns, findings, ids=tuple(table.match)):
            names = list(chunk.columns)
            for place, *words in zip(chunk.places, *chunk.columns.values(), strict=True):
                yield _Row(dict(zip(names, words, strict=True)), place)


def _read_bed(source: BedTable, columns: list[str], folder: Path, findings: Findings) -> Iterator[_Row]:
    file = BedFile(
        folder / source.path, lambda reason, row, column: findings.quarantine(reason, source.title, row, column)
    )
    lacking = 0
    for each in file:
        words = each.words | {"chrom": each.chrom, "start": str(each.start), "end": str(each.end)}
        lacking += any(column not in words for column in columns)
        yield _Row(words, each.line)
    findings.record_source(source.title, file.sha256)
    if lacking:
        findings.add_mistake(
            f"{source.title}: {lacking} rows lack one of the fields {', '.join(columns)}; known fields: chrom, start, "
            "end, name, score, strand, column7 and so on"
        )


def _read_classes(source: ClsTable, columns: list[str], folder: Path, findings: Findings) -> Iterator[_Row]:
    from client.data.adapters.classes import read_classes

    classes = read_classes(folder / source.path)
    findings.record_source(source.title, classes.sha256)
    if strange := sorted(set(columns) - {"sample", "class"}):
        findings.add_mistake(
            f"{source.title}: a CLS file has the columns sample and class, not {', '.join(strange)}; join it on "
            "{sample: number}"
        )
        return
    for number, word in enumerate(classes.words, 1):
        yield _Row({"sample": str(number), "class": word}, number)
