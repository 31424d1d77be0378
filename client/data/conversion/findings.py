"""Gather what is wrong with a source while it is converted: all of it, in one pass, with its place.

There are four levels:

* a **mistake** concerns the whole source (a column is absent): nothing is made;
* an item in **quarantine** (a row, an image, a sequence) is left out and counted. Its place is listed in a file at the
  site. Past the policy's share, nothing is made;
* a **warning** is what is probably not meant; people are asked about it before the data are registered;
* a **note** is what the owner may want to know.

Sentences and places never hold a value: columns, files, rows and counts only.
"""

import csv
import datetime
import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from client.data.identifiers import is_usable, normalise
from privacy.errors import DataError, DataUnavailableError
from privacy.invisible import escape_invisible

MAX_LISTED: Final = 100_000  # places in the file of a conversion; all of them are counted
MAX_SHOWN: Final = 5  # places shown of each reason
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet evaluates

Progress = Callable[[str, int, int | None], None]
"""Called with what is read, how many items are done, and of how many, if that is known."""


class Place(NamedTuple):
    """Where an item is: file or table, row or item within it from 1 (0: all of it), column or tag.

    ``file`` is an item's own file. Its name may name a patient: it is written into the list at the site only.
    """

    source: str
    row: int
    column: str
    file: str = ""


class ColumnTotals(NamedTuple):
    """Rows of a column, and how many of them miss a value, lie below and above its public range (and are clipped)."""

    rows: int
    missing: int
    below: int
    above: int


class Findings:
    """What was found in a source. Converters report to it; ``convert.py`` decides what follows."""

    def __init__(self, report_progress: Progress | None = None) -> None:
        self._report_progress = report_progress or (lambda *_: None)
        self._places: dict[str, list[Place]] = {}
        self._listed = 0
        self._last: tuple[str, int] | None = None
        self._file: tuple[str, int, str] | None = None
        self.quarantined = 0
        """How many items were left out; one that was left out for several reasons in a row counts once."""
        self.counts = Counter[str]()
        """How many items are in quarantine for each reason."""
        self.mistakes = list[str]()
        self.warnings = list[str]()
        self.notes = list[str]()
        self.columns: dict[str, ColumnTotals] = {}
        """What each column of the contract holds, in the records that were kept."""
        self.sources: dict[str, str] = {}
        """The SHA-256 of every file or result that was read, by its name."""
        self.months = Counter[str]()
        """How many records lie in each month, as ``2026-03``, where the source tells a date."""

    def name_file(self, source: str, row: int, file: str) -> None:
        """Say which file the item at this place is, for the list of what is left out."""
        self._file = (source, row, file)

    def quarantine(self, reason: str, source: str, row: int, column: str = "") -> None:
        """Leave out an item; ``reason`` is a clause without values: "the birth date is after the visit"."""
        self.counts[reason] += 1
        if (source, row) != self._last:
            self._last = (source, row)
            self.quarantined += 1
        if self._listed < MAX_LISTED:
            file = self._file[2] if self._file is not None and self._file[:2] == (source, row) else ""
            self._places.setdefault(reason, []).append(Place(source, row, column, file))
            self._listed += 1

    def add_mistake(self, sentence: str) -> None:
        """Report what makes the whole source unusable."""
        if sentence not in self.mistakes:
            self.mistakes.append(sentence)

    def add_warning(self, sentence: str) -> None:
        """Report what is probably not meant."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def count_column(self, name: str, rows: int, missing: int, below: int, above: int) -> None:
        """Add what some rows of a column hold: how many miss a value, and lie below and above the public range."""
        counted = zip(self.columns.get(name, (0, 0, 0, 0)), (rows, missing, below, above), strict=True)
        self.columns[name] = ColumnTotals(*(sum(each) for each in counted))

    def add_note(self, sentence: str) -> None:
        """Report what the owner may want to know."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def record_source(self, name: str, sha256: str) -> None:
        """Keep the digest of what was read; two things of one name are told apart by a number."""
        free, number = name, 1
        while self.sources.get(free, sha256) != sha256:
            number += 1
            free = f"{name} ({number})"
        self.sources[free] = sha256

    def count_month(self, day: datetime.date) -> None:
        """Count a record of ``day``, for the page that shows patients over time."""
        self.months[f"{day.year:04}-{day.month:02}"] += 1

    def report_progress(self, what: str, done: int, total: int | None = None) -> None:
        """Say how far the conversion is."""
        self._report_progress(what, done, total)

    def name_patient(self, word: str, source: str, row: int, column: str) -> str | None:
        """Return the normal form of a patient's identifier; None, and quarantine, if it names nobody."""
        name = normalise(word)
        if is_usable(name):
            return name
        self.quarantine(
            "has a control character in the patient" if name else "names no patient", source, row, column
        )
        return None

    def list_shown(self, reason: str) -> list[Place]:
        """Return the first few places of ``reason``, for the owner's terminal."""
        return self._places.get(reason, [])[:MAX_SHOWN]

    def write_quarantine(self) -> bytes:
        """Write the places as CSV: reason, source or the item's own file, row, column; no value of a record."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("reason", "source", "row", "column"))
        for reason in sorted(self._places):
            writer.writerows(
                (reason, _write_path(place.file or place.source), place.row, place.column)
                for place in self._places[reason]
            )
        return out.getvalue().encode("utf-8")


def _write_path(path: str) -> str:
    """Write a path so that spreadsheet and terminal take it for text: ``=1`` is a formula, ``./=1`` the same file."""
    return escape_invisible(f"./{path}" if path.startswith(_FORMULA) else path).replace("\n", "[U+000A]")


@contextmanager
def collect_mistakes(findings: Findings) -> Iterator[None]:
    """Report a source that is not what it should be as a mistake, so that the others are looked at too."""
    try:
        yield
    except DataUnavailableError:
        raise
    except DataError as error:
        findings.add_mistake(str(error))
