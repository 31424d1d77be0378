"""Define what is counted and drawn: bars whose edges or words the contract gives, so that no patient shapes them."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["input", "target"]


@dataclass(frozen=True)
class Part:
    """What one file has in each bar.

    Attributes:
        counts: one for each bar.
        total: of how many; bars of words that may be together in one record do not add up to it.
        missing: values that are not there; they are in no bar.
        below: values below the public range, which are clipped to it; they are in no bar.
        above: values above it, likewise.
    """

    counts: tuple[int, ...]
    total: int
    missing: int = 0
    below: int = 0
    above: int = 0


@dataclass(frozen=True)
class Distribution:
    """How the values of a column, of a tensor or of one of its positions are distributed in both files.

    Attributes:
        name: of the column or tensor.
        what: its type and range in a few words.
        role: whether models take it or tasks predict it.
        form: ``numbers`` for bins of equal width from the one end of ``range`` to the other, ``words`` for named bars.
        labels: of each bar of words.
        training: the training file.
        test: the file of held-out patients.
        range: of numbers, as people know them.
        logarithm: whether bins have the same width in logarithms.
        unit: of ``range``: a number, or days since 1970-01-01.
        clipped: numbers of both files together that were below and above the range before they were converted; they
            are in the first and the last bin.
        others: bars of words that are not shown, the rarest ones.
    """

    name: str
    what: str
    role: Role
    form: Literal["numbers", "words"]
    labels: tuple[str, ...]
    training: Part
    test: Part
    range: tuple[float, float] = (0.0, 1.0)
    logarithm: bool = False
    unit: Literal["number", "day"] = "number"
    clipped: tuple[int, int] = (0, 0)
    others: int = 0
