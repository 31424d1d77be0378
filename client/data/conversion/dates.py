"""Read dates as hospitals write them, by formats that the mapping names.

A format is made of these parts; everything else in it stands for itself:

=========  =======================================
``YYYY``   the year, four digits
``MM``     the month, 1 to 12
``MON``    the month in English, ``Jan`` or ``January``
``DD``     the day
``hh``     the hour, 0 to 23; ``mm`` the minute, ``ss`` the second
``iso``    alone: ``2024-03-01``, ``2024-03-01T14:30``, ``2024-03-01 14:30:00+01:00``
=========  =======================================

Rules:

* the order of day and month is named, never guessed. Where a column has dates that are none as named, but would be with
  day and month exchanged, all of its dates are in doubt (:meth:`DateReader.list_doubts`), and people are asked;
* of several formats a date must fit one, or give the same day in all that it fits. A spreadsheet that takes 03/04 for
  April and leaves 25/04 as text is noticed;
* a time without an offset is what the hospital's clock showed; no time zone of this machine is used. Where two times
  are compared, an offset is left out of both: they are of one place;
* years have four digits, since two do not say the century.
"""

import datetime
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

ISO: Final = "iso"
_ISO: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_PARTS: Final = re.compile(r"YYYY|MON|MM|DD|hh|mm|ss")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS_OF_YEAR: Final = 12
_FEW: Final = 5  # different days of which a pattern is believed
_CACHED: Final = 1 << 16


def check_format(text: str) -> str:
    """Return a format of dates.

    Raises:
        ValueError: it lacks year, month or day, or has a part twice.
    """
    if text == ISO:
        return text
    parts = _PARTS.findall(text)
    if "YYYY" not in parts or "DD" not in parts or ("MM" in parts) == ("MON" in parts):
        raise ValueError("expected iso, or a format with YYYY, MM (or MON) and DD, such as DD.MM.YYYY")
    if len(set(parts)) < len(parts):
        raise ValueError("a part stands twice; minutes are mm, months MM")
    if re.search(r"[A-Za-z]{2}", re.sub(r"T(?=hh)", "", _PARTS.sub("", text))):
        raise ValueError("knows the parts YYYY, MM, MON, DD, hh, mm and ss; a year has four digits")
    return text


class DateReader:
    """Reads the dates of one column."""

    def __init__(self, formats: Sequence[str]) -> None:
        """Read dates of ``formats`` (:func:`check_format`)."""
        self._formats = tuple(formats)
        self._known: dict[str, datetime.datetime | None] = {}
        self._days: dict[str, set[int]] = {}
        self.exchanged = 0
        """Different words that are no date, but would be with day and month exchanged."""

    def read(self, word: str) -> datetime.datetime | None:
        """Read a word, as a time without an offset; None if it is no date."""
        if word not in self._known:
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[word] = self._read_new(word)
        return self._known[word]

    def list_doubts(self) -> list[str]:
        """List what lets doubt the dates that were read: clauses with counts, without a date."""
        doubts = list[str]()
        if self.exchanged:
            doubts.append(
                f"{self.exchanged} dates are none in the format that the mapping names, and would be with day and "
                "month exchanged, so that the others may be exchanged too; name the right format, or mend them"
            )
        stored, written = self._days.get(ISO, set()), set[int]().union(*(
            days for form, days in self._days.items() if form != ISO
        ))  # fmt: skip
        if stored and written and max(stored) <= _MONTHS_OF_YEAR < min(written) and len(stored) >= _FEW:
            doubts.append(
                "all dates that are stored as dates are of the first twelve days of a month, and all that are stored "
                "as text of later ones: a spreadsheet has taken the first ones for month and day; import the column as "
                "text"
            )
        return doubts

    def _read_new(self, word: str) -> datetime.datetime | None:
        found = {form: date for form in self._formats if (date := _read_date(word, form)) is not None}
        if len(set(found.values())) == 1:
            form, date = next(iter(found.items()))
            self._days.setdefault(form, set()).add(date.day)
            return date
        if not found and any(
            _read_date(word, _exchange(form)) is not None for form in self._formats if form != ISO
        ):
            self.exchanged += 1
        return None


def _exchange(text: str) -> str:
    return text.replace("DD", "\0").replace("MM", "DD").replace("\0", "MM")


def _read_date(word: str, form: str) -> datetime.datetime | None:
    try:
        if form == ISO:
            return datetime.datetime.fromisoformat(word).replace(tzinfo=None) if _ISO.fullmatch(word) else None
        found = _compile(form).fullmatch(word)
        if found is None:
            return None
        parts = found.groupdict()
        month = _MONTHS.index(parts["MON"][:3].lower()) + 1 if "MON" in parts else int(parts["MM"])
        hour, minute, second = (int(parts.get(each) or 0) for each in ("hh", "mm", "ss"))
        return datetime.datetime(int(parts["YYYY"]), month, int(parts["DD"]), hour, minute, second)
    except ValueError:  # such as the 31st of June
        return None


@lru_cache
def _compile(form: str) -> re.Pattern[str]:
    """Compile a format; without anything between two parts, both have all their digits."""
    written, at = "", 0
    for part in _PARTS.finditer(form):
        written += re.escape(form[at : part.start()])
        alone = (part.start() == 0 or not _ends_part(form, part.start())) and not _begins_part(form, part.end())
        digits = "{1,2}" if alone else "{2}"
        match part[0]:
            case "YYYY":
                written += "(?P<YYYY>[0-9]{4})"
            case "MON":
                written += rf"(?P<MON>(?i:{'|'.join(_LONG_MONTHS)}|{'|'.join(_MONTHS)}))"
            case name:
                written += f"(?P<{name}>[0-9]{digits})"
        at = part.end()
    return re.compile(written + re.escape(form[at:]))


_LONG_MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip


def _ends_part(form: str, place: int) -> bool:
    return any(each.end() == place for each in _PARTS.finditer(form))


def _begins_part(form: str, place: int) -> bool:
    return any(each.start() == place for each in _PARTS.finditer(form))
