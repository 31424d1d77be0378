"""Find from the words of a record whose it is, whether it is held out, and what is predicted of it.

A reader of sequences, samples or pairs gives a record some words: parts of a FASTA header, fields of a row. Tables
beside it add more (``joined_table.py``). The mapping's ``columns`` say which word is which column of the contract; a
column that is not named there has the word of its own name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from client.data.conversion.converters import Request
from client.data.conversion.joined_table import ClsTable, JoinedTable, JoinedWords, TableSource
from client.data.conversion.label_words import UnusableError, read_label
from client.data.conversion.mapping import DataMapping
from client.data.conversion.sources import SqlSource
from privacy.errors import SiteConfigError
from privacy.fields import Column
from privacy.study.data.labels import Label

_LISTED: Final = 30  # words of a source in a message; a matrix may have thousands


class RecordMapping(DataMapping):
    """A mapping of records that have words.

    Attributes:
        columns: for a column of the contract the word that it is, where it has another name.
        words: constants: words that every record has.
        tables: whose words are added.
    """

    columns: dict[Column, Column] = Field(default={})
    words: dict[Column, str] = Field(default={})
    tables: tuple[JoinedTable, ...] = ()


def list_files(*sources: TableSource) -> dict[str, Path] | None:
    """List the files of ``sources`` by the names that their SHA-256 is recorded with; None if one is a database."""
    files = dict[str, Path]()
    for source in sources:
        if isinstance(source, SqlSource) or source.title in files:
            return None
        files[source.title] = source.path
    return files


@dataclass(frozen=True)
class Found:
    """What the words of a record say.

    Attributes:
        patient: in normal form.
        held_out: whether they are held out.
        targets: of the label, by name.
        words: all of them, with those of constants and tables.
    """

    patient: str = field(repr=False)
    held_out: bool
    targets: Mapping[str, Any] = field(repr=False)
    words: Mapping[str, str] = field(repr=False)


class RecordWords:
    """Says of each record whose it is and what is predicted."""

    def __init__(
        self,
        request: Request,
        label: Label | None,
        more: tuple[str, ...] = (),
        *,
        raw: tuple[str, ...] = (),
        known: tuple[str, ...] = (),
        patient: str | None = None,
    ) -> None:
        """Read the tables of the mapping.

        Args:
            request: with a mapping of type :class:`RecordMapping`.
            label: the contract's, if it has one.
            more: columns that the converter itself takes from the words.
            raw: words that it takes, as the mapping calls them.
            known: columns that the mapping may name, although they are not needed now.
            patient: the word that tells the patient, if the contract says which, and not the mapping.

        Raises:
            DataUnavailableError: a table cannot be read now.
            DataError: a table is not what it should be.
        """
        mapping: RecordMapping = request.mapping
        self._findings, self._splitter, self._constants = request.findings, request.splitter, mapping.words
        self._with_targets = request.with_targets
        self._label = label if request.with_targets else None
        self._patient: str = request.contract.patient
        self._columns = dict(mapping.columns)
        self._labels = () if self._label is None else self._label.list_columns()
        columns = {self._patient, *(() if label is None else label.list_columns()), *more, *known}
        if strange := sorted(set(mapping.columns) - columns):
            raise SiteConfigError(
                f"columns: the contract has no column '{strange[0]}'; its columns: {', '.join(sorted(columns))}"
            )
        if patient is not None:
            self._columns[self._patient] = patient
        needed = {*raw, *(self._name(column) for column in (self._patient, *self._labels, *more))}
        if self._splitter.column is not None and request.with_targets:
            needed.add(self._splitter.column)
        tables = [each for each in mapping.tables if request.with_targets or needed & set(each.columns)]
        taken = [word for table in tables for word in table.columns]
        if twice := sorted({word for word in taken if taken.count(word) > 1}):
            raise SiteConfigError(f"tables: the word '{twice[0]}' is taken from two tables; take it from one")
        self.wanted: tuple[str, ...] = tuple(
            sorted(
                (needed | {word for table in tables for word in table.match.values()}) - {*taken, *mapping.words}
            )
        )
        """The words that the reader must give, as the mapping calls them."""
        self._tables = [JoinedWords(each, request.folder, request.findings) for each in tables]
        self._marks = {word: table.mark for table in tables for word in table.columns if table.mark != "."}

    def set_mark(self, mark: str) -> None:
        """Set the decimal mark of the words that the reader gives itself."""
        self._marks |= dict.fromkeys(self.wanted, mark)

    def require(self, given: set[str], where: str) -> None:
        """Report the words that no record has; ``given`` are those that ``where`` gives."""
        if lacking := [word for word in self.wanted if word not in given]:
            named = ", ".join(sorted(given)[:_LISTED]) + (" and more" if len(given) > _LISTED else "")
            self._findings.add_mistake(
                f"{where} gives no {', '.join(lacking)}; it gives {named}. Name in 'columns' which word each column of "
                "the contract is, or add a table that has it"
            )

    def require_classes(self, samples: int, where: str) -> None:
        """Report a CLS file that has not one class for each of ``samples``, which it tells by their order only."""
        for table in self._tables:
            if isinstance(table.table.source, ClsTable) and len(table) != samples:
                self._findings.add_mistake(
                    f"{table.title}: expected a class for each of the {samples} samples of {where}, which are in its "
                    f"order, got {len(table)}"
                )

    def find(self, words: Mapping[str, str], source: str, row: int) -> Found | None:
        """Find what the words of a record say; None if the record is left out, which is reported.

        Args:
            words: what the reader gives.
            source: the file or table, for the report.
            row: the place in it.
        """
        every = self._complete(words, source, row)
        if every is None:
            return None
        column = self._name(self._patient)
        patient = self._findings.name_patient(every.get(column, ""), source, row, column)
        if patient is None:
            return None
        try:
            return Found(patient, self._is_held_out(patient, every), self._read_targets(every), every)
        except UnusableError as error:
            self._findings.quarantine(str(error), source, row, error.column)
            return None

    @property
    def ids(self) -> tuple[str, ...]:
        """Those of ``wanted`` that are identifiers: the patient, and keys of tables."""
        keys = {self._name(self._patient), *(word for table in self._tables for word in table.table.match.values())}
        return tuple(word for word in self.wanted if word in keys)

    def find_mark(self, word: str) -> str:
        """Return the decimal mark of a word."""
        return self._marks.get(word, ".")

    def pick(self, column: str, words: Mapping[str, str]) -> str:
        """Return the word of a column of the contract."""
        return words.get(self._name(column), "")

    def _complete(self, words: Mapping[str, str], source: str, row: int) -> dict[str, str] | None:
        """Return the words with those of constants and tables; None, and a report, if a table lacks the record."""
        every = {**self._constants, **words}
        for table in self._tables:
            added = table.find(every)
            if added is None:
                self._findings.quarantine(f"has no row in {table.title}", source, row)
                return None
            every |= added
        return every

    def _name(self, column: str) -> str:
        return self._columns.get(column, column)

    def _is_held_out(self, patient: str, words: Mapping[str, str]) -> bool:
        if not self._with_targets:  # for prediction: no record is held out from it
            return False
        column = self._splitter.column
        held_out = self._splitter.is_held_out(patient, None if column is None else words.get(column, ""))
        if held_out is None:
            raise UnusableError("has a word that the split does not list", column or "")
        return held_out

    def _read_targets(self, words: Mapping[str, str]) -> dict[str, Any]:
        if self._label is None:
            return {}
        named = {column: words.get(self._name(column), "") for column in self._labels}
        marks = {column: self._marks.get(self._name(column), ".") for column in self._labels}
        return read_label(self._label, named, marks)
