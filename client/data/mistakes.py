"""Describe how a file breaks its contract, without any word of it.

Rules:

* a sentence names columns or arrays, lines or records, and counts, never a value;
* the values of a mistake are beside it, for the owner's own terminal (``client/data/inspection.py``), nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

MAX_PLACES: Final = 5  # kept of each mistake


class Place(NamedTuple):
    """The place of a mistake: the line on which the row begins, or the number of the record; and the word there."""

    number: int
    word: str


@dataclass(frozen=True)
class Mistake:
    """One way in which a file breaks its contract.

    Attributes:
        sentence: what, by column and count; may go to a log.
        column: the column, or the array, that it is about, if it is about one.
        places: the first few; only for the owner's own terminal.
        words: how often each mistaken word occurs; only for the owner's own terminal, and for its hints.
        unit: what a place's number is of: a line from 1, or a record from 0.
    """

    sentence: str
    column: str | None = None
    places: tuple[Place, ...] = field(default=(), repr=False)
    words: Mapping[str, int] = field(default_factory=dict, repr=False)
    unit: Literal["line", "record"] = "line"


def list_places(words: Sequence[str], numbers: Sequence[int], rows: Sequence[int]) -> tuple[Place, ...]:
    """List the first few of ``rows`` by their numbers and words."""
    return tuple(Place(numbers[row], words[row]) for row in rows[:MAX_PLACES])
