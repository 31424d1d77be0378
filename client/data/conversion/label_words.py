"""Turn the words of one record into the targets of a label, as raw numbers.

A word that means nothing, and a number that is none, leave out the record: an :class:`UnusableError` says why, without
the word. The numbers of a snapshot are clipped and scaled when it is read, not here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from client.data.encoding import read_number
from privacy.study.data.labels import BinaryLabel, ClassLabel, Label, NumberLabel, SeveralLabels, SurvivalLabel

Marks = Mapping[str, str]
"""The decimal mark of a column, where it is not a point."""


class UnusableError(Exception):
    """A record that is left out. The message is a clause without values; it names the ``column`` it is about."""

    def __init__(self, reason: str, column: str = "") -> None:
        super().__init__(f"'{column}' {reason}" if column else reason)
        self.column = column


def read_label(label: Label, words: Mapping[str, str], marks: Marks) -> dict[str, Any]:
    """Read the targets of ``label``, by the name of their tensor.

    Args:
        label: the contract's.
        words: of all its columns.
        marks: decimal marks other than the point, by column.

    Raises:
        UnusableError: a word is empty or means nothing.
    """
    match label:
        case BinaryLabel():
            return {"label": _find_group(label.name, words, (label.negative, label.positive))}
        case ClassLabel():
            return {"label": _find_group(label.name, words, label.classes)}
        case NumberLabel():
            return {"label": read_decimal(label.name, words, marks)}
        case SeveralLabels():
            found = [_find_group(each.name, words, (each.negative, each.positive)) for each in label.columns]
            return {"labels": np.array(found, dtype=np.bool_)}
        case SurvivalLabel():
            time = read_decimal(label.time, words, marks)
            if time < 0:
                raise UnusableError("is a time below 0", label.time)
            event = _find_group(label.event, words, (label.censored, *label.causes))
            return {"time": time, "event": 0 if time > label.longest else event}


def read_decimal(column: str, words: Mapping[str, str], marks: Marks) -> float:
    """Read a number with the column's decimal mark.

    Raises:
        UnusableError: it is none.
    """
    return read_number_word(column, words[column], marks.get(column, "."))


def read_number_word(column: str, word: str, mark: str) -> float:
    """Read the number ``word`` of a column with the decimal mark ``mark``.

    Raises:
        UnusableError: it is none.
    """
    if not word:
        raise UnusableError("is empty", column)
    number = read_number(word) if mark == "." else None if "." in word else read_number(word.replace(mark, "."))
    if number is None:
        named = "decimal point" if mark == "." else "decimal comma"
        raise UnusableError(f"is not a number ({named}, no units)", column)
    return number


def _find_group(column: str, words: Mapping[str, str], groups: Sequence[Sequence[str]]) -> int:
    word = words[column]
    for place, group in enumerate(groups):
        if word in group:
            return place
    raise UnusableError("has a word that the contract's label does not list" if word else "is empty", column)
