"""Read numbers as hospitals write them: with a decimal point or a comma, with signs between thousands, with limits.

Rules:

* decimal mark and sign between thousands are named in the mapping, not guessed. A number in which they stand otherwise
  is none;
* between thousands there are three digits: ``1.234.567``, not ``1.23.4``;
* ``1.234`` in a text file may mean 1234. Where no decimal mark is named and every number of a column that has a point
  is written so, the mapping is asked to name it (:class:`PointWatch`);
* a limit (``<5``, ``>= 100``) counts as the limit only if the mapping says so.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from client.data.encoding import read_number

_MAYBE_THOUSANDS: Final = re.compile(r"[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+")
_LIMIT: Final = re.compile(r"(?:[<>]=?|[\u2264\u2265])\s*")


class NumberForm(NamedTuple):
    """How numbers are written: the decimal mark, the sign between thousands if any, and whether limits count."""

    decimal: str = "."
    thousands: str | None = None
    limits: bool = False


def read_written_number(word: str, form: NumberForm) -> float | None:
    """Read a finite number as ``form`` says; None for anything else.

    >>> read_written_number("1.234,5", NumberForm(",", "."))
    1234.5
    >>> read_written_number("12.5", NumberForm(","))
    """
    if form.limits:
        word = _LIMIT.sub("", word, count=1) if _LIMIT.match(word) else word
    if form.thousands is not None and form.thousands in word:
        if not _compile_grouped(form.decimal, form.thousands).fullmatch(word):
            return None
        word = word.replace(form.thousands, "")
    if form.decimal == ",":
        if "." in word:
            return None
        word = word.replace(",", ".")
    return read_number(word)


@lru_cache
def _compile_grouped(decimal: str, thousands: str) -> re.Pattern[str]:
    mark, between = re.escape(decimal), re.escape(thousands)
    return re.compile(rf"[+-]?[0-9]{{1,3}}(?:{between}[0-9]{{3}})+(?:{mark}[0-9]+)?")


class PointWatch:
    """Notices whether the points of a column may stand between thousands."""

    def __init__(self) -> None:
        """Begin with no number."""
        self.dotted = 0
        self._decided = False

    def look_at(self, words: Iterable[str]) -> None:
        """Look at more words of the column."""
        if self._decided:
            return
        for word in words:
            if "." in word and read_number(word) is not None:
                if not _MAYBE_THOUSANDS.fullmatch(word):
                    self._decided = True
                    return
                self.dotted += 1

    @property
    def is_doubtful(self) -> bool:
        """Whether there are points, and all of them may stand between thousands."""
        return self.dotted > 0 and not self._decided
