"""Read patients, visits and events from tables, one a row, or several codes a row.

Rules:

* what a row has wrong leaves out the row, with its place: a code that is none of its system, a time that is not written
  as the mapping says, a value that is no number or a limit such as ``<5``;
* a row of several columns of codes, or of measured columns, is several things of one moment; a word that means no code,
  or not measured, is none.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from client.data.adapters.rows import RowChunk
from client.data.conversion.converters import Request
from client.data.conversion.events.mapping import (
    CodeColumn,
    EventTable,
    MeasuredColumn,
    PersonTable,
    Tables,
    VisitTable,
)
from client.data.conversion.events.raw import AnyRaw, Event, Origin, Person, SystemCode, Visit
from client.data.conversion.events.times import UNITS_S, Moment, TimeReader, UnusableTimeError, lacks_day
from client.data.conversion.findings import Findings
from client.data.conversion.numbers import NumberForm, PointWatch, read_written_number
from client.data.conversion.sources import CsvSource, open_rows
from client.data.identifiers import is_usable, normalise
from privacy.study.data.code_systems import normalise_code

SET_BACK_S: Final = 3600
"""By so much a clock is set back when summer ends; a visit may then end before it begins."""


class UnusableRowError(Exception):
    """A row that must be left out; the message is a clause without the value."""

    def __init__(self, reason: str, column: str) -> None:
        self.column = column
        super().__init__(f"'{column}' {reason}" if column else reason)


class _Row(NamedTuple):
    """One row: its words by column, and its place."""

    words: Mapping[str, str]
    origin: Origin


def read_tables(tables: Tables, request: Request) -> Iterator[AnyRaw]:
    """Yield what the tables have.

    Raises:
        DataUnavailableError: a source cannot be read now.
    """
    for person in tables.persons:
        yield from _PersonReader(person, request).read()
    for visit in tables.visits:
        yield from _VisitReader(visit, request).read()
    for event in tables.events:
        yield from _EventReader(event, request).read()


class _Reader:
    """What readers of all tables have in common."""

    def __init__(
        self,
        table: EventTable | PersonTable | VisitTable,
        request: Request,
        columns: Sequence[str | None],
        ids: Sequence[str | None],
    ) -> None:
        self._source, self._folder = table.source, request.folder
        self._patient = table.patient
        self._findings: Findings = request.findings
        self._times = TimeReader(table.format, request.mapping.find_zone())
        # numbers of days or hours are written like the source's other numbers
        self._has_commas = table.format[0] in UNITS_S and table.source.decimal_mark == ","
        self._columns = [column for column in columns if column is not None]
        self._ids = [column for column in ids if column is not None]

    def read(self) -> Iterator[AnyRaw]:
        """Yield what each row is; a row that must be left out is reported."""
        for chunk in open_rows(self._source, self._folder, self._columns, self._findings, ids=self._ids):
            for row in _list_rows(chunk):
                try:
                    found = self._read_row(row)
                except UnusableRowError as error:
                    self._findings.quarantine(str(error), *row.origin, error.column)
                else:
                    yield from found
        for doubt in self.list_doubts():
            self._findings.add_mistake(f"{self._source.title}: {doubt}")

    def list_doubts(self) -> list[str]:
        """List what puts all rows in doubt."""
        return self._times.list_doubts()

    def _read_row(self, row: _Row) -> Sequence[AnyRaw]:
        raise NotImplementedError

    def _name_patient(self, row: _Row) -> str:
        name = normalise(row.words[self._patient])
        if not is_usable(name):
            raise UnusableRowError("has a control character" if name else "names no patient", self._patient)
        return name

    def _read_time(self, row: _Row, column: str | None, *, is_birth: bool = False) -> Moment | None:
        word = "" if column is None else row.words[column]
        if not word:
            return None
        if self._has_commas:  # a point may stand between thousands then: with it the word is none
            word = "" if "." in word else word.replace(",", ".")
        try:
            return self._times.read_birth(word) if is_birth else self._times.read(word)
        except UnusableTimeError as error:
            raise UnusableRowError(str(error), column or "") from None


class _PersonReader(_Reader):
    def __init__(self, table: PersonTable, request: Request) -> None:
        facts = [fact.column for fact in table.facts.values()]
        columns = [table.patient, table.birth, table.death, table.followed, *facts]
        super().__init__(table, request, columns, [table.patient])
        self._table = table

    def _read_row(self, row: _Row) -> Sequence[Person]:
        table = self._table
        birth = self._read_time(row, table.birth, is_birth=True)
        death, followed = (self._read_time(row, column) for column in (table.death, table.followed))
        if birth is not None and death is not None and death.end < birth.second:
            raise UnusableRowError("lies before the birth", table.death or "")
        facts = {name: (row.words[fact.column], fact) for name, fact in table.facts.items()}
        person = Person(
            self._name_patient(row),
            None if birth is None else birth.second,
            None if death is None else death.end,
            None if followed is None else followed.end,
            tuple((name, fact.words.get(word, word)) for name, (word, fact) in facts.items() if word),
            table.birth is not None and lacks_day(row.words[table.birth]),
        )
        return [person]


class _VisitReader(_Reader):
    def __init__(self, table: VisitTable, request: Request) -> None:
        columns = [table.patient, table.visit, table.start, table.end]
        super().__init__(table, request, columns, [table.patient, table.visit])
        self._table = table

    def _read_row(self, row: _Row) -> Sequence[Visit]:
        table = self._table
        start, end = (self._read_time(row, column) for column in (table.start, table.end))
        visit = normalise(row.words[table.visit])
        if not is_usable(visit):
            raise UnusableRowError("names no visit", table.visit)
        return [make_visit(self._name_patient(row), visit, start, end, row.origin, table.start, table.end)]


class _EventReader(_Reader):
    def __init__(self, table: EventTable, request: Request) -> None:
        systems = [code.system_column for code in table.codes]
        columns = [
            table.patient, table.time, table.visit, *(code.column for code in table.codes), *systems, table.value,
            table.unit, table.text, *(each.column for each in table.measured),
        ]  # fmt: skip
        super().__init__(
            table, request, columns, [table.patient, table.visit, *(code.column for code in table.codes)]
        )
        self._table = table
        self._form = NumberForm(table.source.decimal_mark, table.source.thousands, table.limits)
        self._points = PointWatch()

    def _read_row(self, row: _Row) -> Sequence[Event]:
        table, words = self._table, row.words
        codes = tuple(code for column in table.codes if (code := self._read_code(column, row)) is not None)
        time = self._read_time(row, table.time)
        if time is None:
            raise UnusableRowError("has no time", table.time)
        visit = None if table.visit is None else normalise(words[table.visit]) or None
        value = None if table.value is None else self._read_value(words[table.value], table.value)
        unit = "" if table.unit is None else words[table.unit]
        text = "" if table.text is None else words[table.text]
        patient, unit = self._name_patient(row), table.units.get(unit, unit)
        events = [Event(patient, visit, time.second, codes, value, unit, text, row.origin)]
        for each in table.measured:
            if (number := self._read_measured(each, words[each.column])) is not None:
                code = SystemCode(
                    each.code.system, normalise_code(each.code.system, each.code.code) or each.code.code
                )
                events.append(Event(patient, visit, time.second, (code,), number, each.unit, "", row.origin))
        return events

    def _read_measured(self, column: MeasuredColumn, word: str) -> float | None:
        if word in column.missing:
            return None
        return column.words[word] if word in column.words else self._read_value(word, column.column)

    def _read_code(self, column: CodeColumn, row: _Row) -> SystemCode | None:
        word = row.words[column.column]
        if word in column.missing:
            return None
        if (name := self._table.translate.get(word)) is not None:
            return SystemCode(name.system, normalise_code(name.system, name.code) or name.code)
        system = column.system
        if column.system_column is not None:
            of = row.words[column.system_column]
            if of not in column.systems:
                if column.unlisted == "counted":
                    return SystemCode(of, word)
                raise UnusableRowError(
                    "names a system that the mapping's 'systems' do not list", column.system_column
                )
            system = column.systems[of]
        assert system is not None
        code = normalise_code(system, column.prefix + word, zeros_cut=column.zeros_cut)
        if code is None:
            raise UnusableRowError(f"is no code of {system}", column.column)
        return SystemCode(system, code)

    def _read_value(self, word: str, column: str) -> float | None:
        if not word:
            return None
        self._points.look_at((word,))
        value = read_written_number(word, self._form)
        if value is None:
            raise UnusableRowError("is no number; a limit such as <5 counts with 'limits: true'", column)
        return value

    def list_doubts(self) -> list[str]:
        doubts = super().list_doubts()
        if self._source.decimal is None and isinstance(self._source, CsvSource) and self._points.is_doubtful:
            doubts.append(
                "every number with a point has three digits after it, so that the point may stand between thousands; "
                'name the source\'s decimal mark: decimal: "." or decimal: "," with thousands: "."'
            )
        return doubts


def make_visit(
    patient: str,
    visit: str,
    start: Moment | None,
    end: Moment | None,
    origin: Origin,
    start_of: str,
    end_of: str | None,
) -> Visit:
    """Make a visit.

    Raises:
        UnusableRowError: it has no beginning, or ends before it begins.
    """
    if start is None:
        raise UnusableRowError("says no beginning of the visit", start_of)
    if end is None:
        return Visit(patient, visit, start.second, None, origin)
    if end.end < start.second - (0 if start.is_day or end.is_day else SET_BACK_S):
        raise UnusableRowError("lies before the visit's beginning", end_of or "")
    return Visit(patient, visit, start.second, max(start.second, end.end), origin)


def _list_rows(chunk: RowChunk) -> Iterator[_Row]:
    names = list(chunk.columns)
    for place, words in zip(chunk.places, zip(*chunk.columns.values(), strict=True), strict=True):
        yield _Row(dict(zip(names, words, strict=True)), Origin(chunk.source, place))
