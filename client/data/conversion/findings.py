"""Gather what is wrong with a source while it is converted: all of it, in one pass, with its place.

There are three levels:

* a **mistake** concerns the whole source (a column is absent): nothing is made;
* an item in **quarantine** (a row, an image, a sequence) is left out and counted. Its place is listed in a file at the
  site. Past the policy's share, nothing is made;
* a **note** is what the owner may want to know.

Sentences and places never hold a value: columns, files, rows and counts only.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from client.data.identifiers import is_usable, normalise

MAX_LISTED: Final = 100_000  # places in the file of a conversion; all of them are counted
MAX_SHOWN: Final = 5  # places shown of each reason

Progress = Callable[[str, int, int | None], None]
"""Called with what is read, how many items are done, and of how many, if that is known."""


class Place(NamedTuple):
    """Where an item is: file or table, row or item within it from 1 (0: all of it), column or tag."""

    source: str
    row: int
    column: str


class Findings:
    """What was found in a source. Converters report to it; ``convert.py`` decides what follows."""

    def __init__(self, report_progress: Progress | None = None) -> None:
        self._report_progress = report_progress or (lambda *_: None)
        self._places: dict[str, list[Place]] = {}
        self._listed = 0
        self.counts = Counter[str]()
        """How many items are in quarantine for each reason."""
        self.mistakes = list[str]()
        self.notes = list[str]()
        self.sources: dict[str, str] = {}
        """The SHA-256 of every file or result that was read, by its name."""

    @property
    def quarantined(self) -> int:
        """The number of items left out."""
        return self.counts.total()

    def quarantine(self, reason: str, source: str, row: int, column: str = "") -> None:
        """Leave out an item; ``reason`` is a clause without values: "the birth date is after the visit"."""
        self.counts[reason] += 1
        if self._listed < MAX_LISTED:
            self._places.setdefault(reason, []).append(Place(source, row, column))
            self._listed += 1

    def add_mistake(self, sentence: str) -> None:
        """Report what makes the whole source unusable."""
        if sentence not in self.mistakes:
            self.mistakes.append(sentence)

    def add_note(self, sentence: str) -> None:
        """Report what the owner may want to know."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def record_source(self, name: str, sha256: str) -> None:
        """Keep the digest of what was read."""
        self.sources[name] = sha256

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
        """Write the places as CSV: reason, source, row, column; no value."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("reason", *Place._fields))
        for reason in sorted(self._places):
            writer.writerows((reason, *place) for place in self._places[reason])
        return out.getvalue().encode("utf-8")
