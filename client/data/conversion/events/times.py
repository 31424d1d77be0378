"""Read times as they are written, as seconds of the hospital's clock; nothing about their form is guessed.

Rules:

* a form is a format of dates (``client/data/conversion/dates.py``): ``iso``, ``DD.MM.YYYY hh:mm``; or a unit: ``days``,
  ``hours``, ``minutes``, ``seconds``, of a number since an origin that is the same for all times of a patient;
* a time with an offset is read on the clock of the mapping's ``zone``, a time without one is on the hospital's clock
  already. The time zone and the language of this machine change nothing;
* a day without a time counts as its beginning, where a period begins, and as its end, where it ends or a patient dies;
* a birth date without day counts as the 15th, one without month as the first of July; other dates need a day.
"""

import datetime
import math
import re
import zoneinfo
from typing import Final, NamedTuple

from client.data.conversion.dates import ISO, DateReader, check_format

DAY_S: Final = 86400
UNITS_S: Final[dict[str, int]] = {"days": DAY_S, "hours": 3600, "minutes": 60, "seconds": 1}
_FIRST: Final = datetime.datetime(1850, 1, 1)
_LAST: Final = datetime.datetime(2150, 1, 1)
_EPOCH: Final = datetime.datetime(1970, 1, 1)
_ISO: Final = re.compile(r"[0-9]{4}(?P<month>-[0-9]{2})?(?P<day>-[0-9]{2})?(?P<rest>[T ].*)?")
_OFFSET: Final = re.compile(r"(?:Z|[+-][0-9]{2}:?[0-9]{2})$")
_DAY_DIGITS: Final = 8  # of a date without a time
_MOST_UNITS: Final = 1e6 * DAY_S  # seconds


class UnusableTimeError(Exception):
    """What is written is no time; the message is a clause without the value."""


class Moment(NamedTuple):
    """A moment: seconds of the hospital's clock since 1970, and whether only its day is known."""

    second: int
    is_day: bool

    @property
    def end(self) -> int:
        """The last second of what is known: of the day, if only that is known."""
        return self.second + (DAY_S - 1 if self.is_day else 0)


class TimeReader:
    """Read the times of one source."""

    def __init__(self, forms: tuple[str, ...], zone: zoneinfo.ZoneInfo | None) -> None:
        """Read times of one of ``forms`` (:func:`check_time_form`); those with an offset on the clock of ``zone``."""
        self._forms = forms
        self._dates = DateReader([form for form in forms if form not in UNITS_S])
        self._zone = zone

    def list_doubts(self) -> list[str]:
        """List what lets doubt the dates that were read, such as day and month exchanged."""
        return self._dates.list_doubts()

    def read(self, word: str) -> Moment:
        """Read a moment.

        Raises:
            UnusableTimeError: it is not written in one of the forms, has no day, or can be read in two ways.
        """
        if self._forms[0] in UNITS_S:
            moment = _read_number(word, UNITS_S[self._forms[0]])
            if moment is not None:
                return moment
        elif ISO in self._forms and (parts := _ISO.fullmatch(word)):
            if parts["day"] is None and parts["rest"] is None:
                raise UnusableTimeError("has no day")
            if parts["rest"] is not None and _OFFSET.search(word):
                return self._read_with_offset(word)
        date = self._dates.read(word)
        if date is None:
            raise UnusableTimeError(f"is not written as 'format' says ({', '.join(self._forms)})")
        digits = sum(each.isdecimal() for each in word)
        return _make_moment(date, is_day=date.time() == datetime.time() and digits <= _DAY_DIGITS)

    def read_birth(self, word: str) -> Moment:
        """Read a date of birth, which may lack its day, or month and day (:func:`lacks_day`).

        Raises:
            UnusableTimeError: as for :meth:`read`.
        """
        if ISO in self._forms and lacks_day(word):
            word = f"{word}-15" if "-" in word else f"{word}-07-01"
        return self.read(word)

    def _read_with_offset(self, word: str) -> Moment:
        if self._zone is None:
            raise UnusableTimeError("has an offset; name the hospital's time zone in the mapping, as 'zone'")
        try:
            time = datetime.datetime.fromisoformat(word).astimezone(self._zone).replace(tzinfo=None)
        except (ValueError, OverflowError):  # no such day or hour
            raise UnusableTimeError(f"is not written as 'format' says ({', '.join(self._forms)})") from None
        return _make_moment(time, is_day=False)


def lacks_day(word: str) -> bool:
    """Return whether a date of ISO 8601 is a year alone, or a year and a month."""
    return re.fullmatch(r"[0-9]{4}(-[0-9]{2})?", word) is not None


def _make_moment(time: datetime.datetime, *, is_day: bool) -> Moment:
    if not _FIRST <= time < _LAST:
        raise UnusableTimeError("lies before 1850 or after 2149")
    return Moment(int((time - _EPOCH).total_seconds()), is_day)


def find_zone(name: str) -> zoneinfo.ZoneInfo:
    """Find a time zone by its name in the IANA database.

    Raises:
        ValueError: there is none of this name.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"no time zone is called '{name}'; expected one such as Europe/Berlin") from None


def check_time_form(form: str) -> str:
    """Return ``form`` if it is a unit of time or a format of dates.

    Raises:
        ValueError: it is neither.
    """
    return form if form in UNITS_S else check_format(form)


def find_day(second: int) -> datetime.date:
    """Return the day of a moment."""
    return (_EPOCH + datetime.timedelta(seconds=second)).date()


def _read_number(word: str, unit_s: int) -> Moment | None:
    try:
        seconds = float(word) * unit_s
    except ValueError:
        return None
    if not math.isfinite(seconds) or abs(seconds) > _MOST_UNITS:
        return None
    return Moment(round(seconds), is_day=False)
