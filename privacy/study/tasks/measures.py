"""List what can be counted of a record under a data contract: its columns, or its tensors, in a few public forms.

A measure is one word of a list, or one number in a public range. Where a tensor has many values a record, the measure
is one number that stands for them:

==========================  ===================================================================
in the contract             measure
==========================  ===================================================================
column of numbers, of days  the number; it may be missing
column of a category        the word; it may be missing
column of places in a year  the month, or twelfth of the year; it may be missing
column of text              whether there is any: what is written is not counted
label                       its word or words, its number, its time
number, one value           the number
number, several values      their mean
id, one value               the word, by its number, if there are at most ``MOST_WORDS``
id, several values          the share of places that hold another word than 0
flag, one value             no or yes
flag, several values        the share of yes; of several labels of a table, each its own word
==========================  ===================================================================

Everything follows from the contract alone, so that all sites and the coordinator list the same measures.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, NamedTuple

from privacy.study.data.columns import Category, Date, Number, Text, count_numbers
from privacy.study.data.contract import DataContract
from privacy.study.data.images import ImagesContract
from privacy.study.data.labels import BinaryLabel, ClassLabel, Label, NumberLabel, SeveralLabels, SurvivalLabel
from privacy.study.data.table import TableContract
from privacy.study.data.tensors import Flags, Ids, Numbers

MOST_WORDS: Final = 100
"""The most words of which each is counted for itself."""
MOST_NAME: Final = 80
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PRESENT: Final = "there is a value"


class Form(StrEnum):
    """How a measure stands in its tensor: in the whole tensor, or in some places of the last axis."""

    WHOLE = "whole"
    """The value, or the mean over the record's values."""
    ONE = "one"
    """One place has the value."""
    ONE_HOT = "one-hot"
    """One place for each word."""
    TURN = "turn"
    """Two places have the sine and the cosine of an angle, whose twelfths are the words."""
    PRESENT = "present"
    """Only the indicator of a missing value is looked at; the one word is that there is a value."""


class Measure(NamedTuple):
    """One word or one number of a record.

    Attributes:
        name: of the column, or of the tensor.
        tensor: which tensor has it.
        form: how it stands there.
        place: where in the tensor's last axis it begins.
        words: what is counted, each for itself; empty for a number.
        low, high: the public range of a number, in the units of the column.
        indicator: the place of the indicator of a missing value; None where none can be missing.
        days: whether the number is days since 1970-01-01.
        stands_for: how one number stands for several values; empty where there is only one.
    """

    name: str
    tensor: str
    form: Form = Form.WHOLE
    place: int = 0
    words: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    indicator: int | None = None
    days: bool = False
    stands_for: str = ""

    @property
    def is_number(self) -> bool:
        """Whether it is a number; else a word."""
        return not self.words

    @property
    def missing(self) -> bool:
        """Whether it can be missing."""
        return self.indicator is not None


def list_measures(contract: DataContract) -> tuple[Measure, ...]:
    """List every measure of ``contract``, targets first, in the contract's order."""
    tensors = (*contract.list_targets(), *contract.list_inputs())
    if not isinstance(contract, TableContract | ImagesContract):
        return _measure_tensors(tensors)
    of_label = () if contract.label is None else contract.label.list_targets()
    by_columns = {"features", *(tensor.name for tensor in of_label)}
    return (
        *(() if contract.label is None else _list_label(contract.label)),
        *_list_features(contract.features),
        *_measure_tensors(tensor for tensor in tensors if tensor.name not in by_columns),
    )


def is_of_two(measure: Measure) -> bool:
    """Return whether it is a word of two, which also counts as the number 0 or 1."""
    return len(measure.words) == 2 and not measure.missing


def _list_features(features: Iterable[Number | Category | Date | Text]) -> list[Measure]:
    found, place = list[Measure](), 0
    for feature in features:
        end = place + count_numbers(feature)  # where the indicator is
        rest: dict[str, Any] = {"name": feature.name, "tensor": "features", "place": place, "indicator": end}
        match feature:
            case Number():
                found.append(Measure(form=Form.ONE, low=feature.low, high=feature.high, **rest))
            case Date(taken="days"):
                low, high = feature.days
                found.append(Measure(form=Form.ONE, low=low, high=high, days=True, **rest))
            case Date():
                found.append(Measure(form=Form.TURN, words=_MONTHS, **rest))
            case Category() if len(feature.values) <= MOST_WORDS:
                found.append(Measure(form=Form.ONE_HOT, words=feature.values, **rest))
            case _:
                found.append(Measure(form=Form.PRESENT, words=(_PRESENT,), **rest))
        place = end + 1
    return found


def _list_label(label: Label) -> tuple[Measure, ...]:
    match label:
        case BinaryLabel():
            return (Measure(label.name, "label", words=_name_groups(label.negative, label.positive)),)
        case ClassLabel() if len(label.classes) <= MOST_WORDS:
            return (Measure(label.name, "label", words=_name_groups(*label.classes)),)
        case NumberLabel():
            return (Measure(label.name, "label", low=label.low, high=label.high),)
        case SeveralLabels():
            return tuple(
                Measure(each.name, "labels", Form.ONE, place, _name_groups(each.negative, each.positive))
                for place, each in enumerate(label.columns)
            )
        case SurvivalLabel():
            return (
                Measure(label.event, "event", words=_name_groups(label.censored, *label.causes)),
                Measure(label.time, "time", low=0.0, high=label.longest),
            )
    return ()


def _measure_tensors(tensors: Iterable[Numbers | Ids | Flags]) -> tuple[Measure, ...]:
    return tuple(measure for tensor in tensors if (measure := _measure_tensor(tensor)) is not None)


def _measure_tensor(tensor: Numbers | Ids | Flags) -> Measure | None:
    name = tensor.name
    match tensor:
        case Numbers():
            means = "mean of a record's values" if tensor.shape else ""
            return Measure(name, name, low=tensor.low, high=tensor.high, stands_for=means)
        case Ids(shape=()):
            words = tuple(str(number) for number in range(tensor.values))
            return Measure(name, name, words=words) if len(words) <= MOST_WORDS else None
        case Ids():
            return Measure(name, name, stands_for="share of places that hold another word than 0")
        case Flags(shape=()):
            return Measure(name, name, words=("no", "yes"))
        case Flags():
            return Measure(name, name, stands_for="share of flags that say yes")


def _name_groups(*groups: tuple[str, ...]) -> tuple[str, ...]:
    """Name each group of words by its words."""
    names = [", ".join(group) for group in groups]
    return tuple(name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 1]}…" for name in names)
