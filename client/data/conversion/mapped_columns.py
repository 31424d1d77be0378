"""Turn the words of a hospital's columns into the words of the contract's: by values, units, dates.

A column of the contract takes words of one of these sorts (:class:`Expected`): numbers, words of a vocabulary, dates,
a text, or the patient. What comes out is what a CSV file that keeps the contract has, so that both are encoded by the
same program (``client/data/encoding.py``).

Rules:

* a word that gives none makes its row unusable: a reason without the word;
* an empty word, and a word that means missing, becomes the contract's word for missing. A label is never missing;
* what puts all of a column in doubt (points that may stand between thousands, day and month exchanged) is a mistake.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from client.data.conversion.dates import ISO, DateReader
from client.data.conversion.numbers import NumberForm, PointWatch, read_written_number
from client.data.conversion.table_mapping import (
    ConstantColumn,
    DateColumn,
    ElapsedColumn,
    JoinedColumn,
    MappedColumn,
    TakenColumn,
)
from client.data.conversion.units import find_conversion
from client.data.encoding import read_number
from privacy.study import Category, Date, Number, TableContract
from privacy.study.data.labels import BinaryLabel, ClassLabel, NumberLabel, SeveralLabels, SurvivalLabel

_MOST_LISTED: Final = 10
_CACHED: Final = 1 << 17
_DAYS: Final = {"hours": 1 / 24, "days": 1.0, "weeks": 7.0, "months": 30.436875, "years": 365.2425}
Sort = Literal["patient", "number", "word", "date", "text"]


class Unusable(str):
    """Why a word cannot be used: a clause without it."""


@dataclass(frozen=True)
class Expected:
    """What a column of the contract takes.

    Attributes:
        name: the column.
        sort: what its words are.
        vocabulary: of words; ``known`` lists the first ones.
        missing: the contract's words for missing.
        is_label: whether it is predicted, and never missing.
        at_least_0: whether it is a time.
    """

    name: str
    sort: Sort
    vocabulary: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    known: str = ""
    is_label: bool = False
    at_least_0: bool = False

    def finish(self, word: str) -> str:
        """Return ``word`` if the column takes it, else why not."""
        if self.is_label and self.sort == "word" and word in self.vocabulary:
            return word
        if word in self.missing or not word:
            return self.find_missing()
        match self.sort:
            case "number":
                number = read_number(word)
                if number is None:
                    return Unusable("is not a number")
                return Unusable("is a time below 0") if self.at_least_0 and number < 0 else word
            case "word":
                return word if word in self.vocabulary else Unusable(f"has a word that is none of {self.known}")
            case _:
                return word

    def find_missing(self) -> str:
        """Return the word for missing; why not, if it may not be missing."""
        if self.is_label:
            return Unusable("has no label")
        if self.sort == "patient":
            return ""
        return self.missing[0] if self.missing else Unusable("is missing, and the contract has no word for that")


def list_expected(contract: TableContract, *, with_targets: bool) -> list[Expected]:
    """List what each column of the contract takes: patient, label if wanted, features."""
    found = [Expected(contract.patient, "patient", missing=contract.missing)]
    match contract.label if with_targets else None:
        case BinaryLabel() as label:
            found.append(_expect_label(label.name, label.positive, label.negative))
        case ClassLabel() as label:
            found.append(_expect_label(label.name, *label.classes))
        case NumberLabel() as label:
            found.append(Expected(label.name, "number", is_label=True))
        case SeveralLabels() as label:
            found += [_expect_label(each.name, each.positive, each.negative) for each in label.columns]
        case SurvivalLabel() as label:
            found.append(Expected(label.time, "number", is_label=True, at_least_0=True))
            found.append(_expect_label(label.event, label.censored, *label.causes))
        case None:
            pass
    for feature in contract.features:
        match feature:
            case Number():
                found.append(Expected(feature.name, "number", missing=contract.missing))
            case Category():
                words = frozenset(feature.values)
                found.append(Expected(feature.name, "word", words, contract.missing, _list_known(feature.values)))
            case Date():
                found.append(Expected(feature.name, "date", missing=contract.missing))
            case _:
                found.append(Expected(feature.name, "text", missing=contract.missing))
    return found


def _expect_label(name: str, *groups: tuple[str, ...]) -> Expected:
    words = [word for group in groups for word in group]
    return Expected(name, "word", frozenset(words), known=_list_known(words), is_label=True)


def _list_known(words: Sequence[str]) -> str:
    """List the first words of a vocabulary, which is public, for messages."""
    more = f" and {len(words) - _MOST_LISTED} more" if len(words) > _MOST_LISTED else ""
    return ", ".join(f"'{word}'" for word in words[:_MOST_LISTED]) + more


class ColumnConverter:
    """Converts one column of the contract, some rows at a time."""

    def __init__(self, expected: Expected, column: MappedColumn, form: NumberForm, *, watches_points: bool) -> None:
        """Prepare the conversion.

        Args:
            expected: what the contract's column takes.
            column: where it comes from.
            form: how the source writes numbers.
            watches_points: whether its points may stand between thousands.

        Raises:
            SiteConfigError: a unit cannot be converted.
        """
        self.expected = expected
        self.sources = column.list_columns()
        self._column = column
        self._readers = list[DateReader]()
        self._points = PointWatch() if watches_points and expected.sort == "number" else None
        self._known: dict[str, str] = {}
        self._convert: Callable[[str], str] = self._prepare(form)

    def convert(self, words: Mapping[str, Sequence[str]], rows: int) -> list[str]:
        """Return the words of ``rows`` rows, (rows,): each a word of the contract, or an :class:`Unusable`."""
        match self._column:
            case ConstantColumn():
                return [self.expected.finish(self._column.value)] * rows
            case ElapsedColumn():
                return self._compute_elapsed(self._column, words)
            case JoinedColumn():
                between = self._column.between
                joined = [between.join(filter(None, row)) for row in zip(*(words[each] for each in self.sources))]  # noqa: B905
                return self._convert_each(joined)
            case _:
                return self._convert_each(words[self.sources[0]])

    def list_doubts(self) -> list[str]:
        """List what puts the whole column in doubt, as sentences."""
        named = f"column '{', '.join(self.sources)}'"
        doubts = [doubt for reader in self._readers for doubt in reader.list_doubts()]
        if self._points is not None and self._points.is_doubtful:
            doubts.append(
                f"all {self._points.dotted} different numbers with a point have three digits after it, so that it may "
                'stand between thousands; write in the source decimal: "." if it is the decimal mark, else '
                'decimal: "," and thousands: "."'
            )
        return [f"{named}: {doubt}" for doubt in doubts]

    def _convert_each(self, words: Sequence[str]) -> list[str]:
        known = self._known
        new = set(words).difference(known)
        if len(known) + len(new) > _CACHED:
            known.clear()
            new = set(words)
        for word in sorted(new):
            known[word] = self._convert(word)
        if self._points is not None:
            self._points.look_at(new)
        return [known[word] for word in words]

    def _prepare(self, form: NumberForm) -> Callable[[str], str]:
        finish = self.expected.finish
        match self._column:
            case DateColumn(format=format, missing=missing):
                return self._prepare_dates(format, missing)
            case TakenColumn() if self.expected.sort == "date" and not self._column.values:
                return self._prepare_dates((ISO,), self._column.missing)
            case TakenColumn():
                return self._prepare_taken(self._column, form)
            case ElapsedColumn(format=format):
                self._readers = [DateReader(format), DateReader(format)]
        return finish

    def _prepare_dates(self, formats: tuple[str, ...], missing: tuple[str, ...]) -> Callable[[str], str]:
        reader = DateReader(formats)
        self._readers = [reader]
        gone, no_date = frozenset((*missing, *self.expected.missing, "")), _describe_no_date(formats)

        def convert(word: str) -> str:
            if word in gone:
                return self.expected.find_missing()
            date = reader.read(word)
            return Unusable(no_date) if date is None else self.expected.finish(date.date().isoformat())

        return convert

    def _prepare_taken(self, column: TakenColumn, form: NumberForm) -> Callable[[str], str]:
        expected, gone = self.expected, frozenset((*column.missing, *self.expected.missing, ""))
        conversion = None
        if column.unit is not None and column.to_unit is not None:
            conversion = find_conversion(column.unit, column.to_unit, column.molar_mass)
        form = form._replace(limits=column.limits)
        as_written = form == NumberForm() and conversion is None

        def convert(word: str) -> str:
            if word in column.values:
                return expected.finish(column.values[word])
            if word in gone and not (expected.is_label and word in expected.vocabulary):
                return expected.find_missing()
            if column.otherwise is not None:
                return expected.finish(column.otherwise)
            if expected.sort != "number" or (as_written and read_number(word) is not None):
                return expected.finish(word)
            number = read_written_number(word, form)
            if number is None:
                return Unusable(_describe_no_number(word, form))
            return expected.finish(repr(number if conversion is None else conversion.apply(number)))

        return convert

    def _compute_elapsed(self, column: ElapsedColumn, words: Mapping[str, Sequence[str]]) -> list[str]:
        first, second = self._readers
        gone, found = frozenset((*column.missing, *self.expected.missing, "")), list[str]()
        for one, other in zip(words[column.from_], words[column.to], strict=True):
            if one in gone or other in gone:
                found.append(self.expected.find_missing())
                continue
            begin, end = first.read(one), second.read(other)
            if begin is None or end is None:
                found.append(Unusable(_describe_no_date(column.format)))
            elif end < begin and not column.negative:
                found.append(Unusable("its second date lies before the first"))
            else:
                found.append(self.expected.finish(_measure_time(begin, end, column.unit)))
        return found


def _measure_time(begin: datetime.datetime, end: datetime.datetime, unit: str) -> str:
    if unit == "completed years":
        return str(end.year - begin.year - ((end.month, end.day) < (begin.month, begin.day)))
    return repr((end - begin) / datetime.timedelta(days=1) / _DAYS[unit])


def _describe_no_number(word: str, form: NumberForm) -> str:
    """Describe why ``word`` is no number of the form ``form``, and the key of the mapping that makes it one."""
    if not form.limits and read_written_number(word, form._replace(limits=True)) is not None:
        return "is a limit, such as <5; write limits: true in its column if it counts as 5"
    if form.decimal == "." and read_written_number(word, NumberForm(",")) is not None:
        return 'is a number with a decimal comma; write in the source decimal: ","'
    between = f" and '{form.thousands}' between thousands" if form.thousands else ""
    return f"is not a number with the decimal mark '{form.decimal}'{between}"


def _describe_no_date(formats: Sequence[str]) -> str:
    """Describe which dates were expected."""
    if tuple(formats) == (ISO,):
        return "is not a date such as 2024-03-01; name its format in the mapping"
    return f"is not a date in the format {' or '.join(formats)} of the mapping"
