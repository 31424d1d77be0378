"""Find the columns of a contract in the numbers that they became: tables, and images with columns beside them."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from privacy.study import Category, Date, Number, Text
from privacy.study.data.columns import count_numbers
from privacy.study.data.contract import DataContract

FEATURES: Final = "features"
"""The tensor of the columns' numbers."""
MISSING: Final = "missing"

Feature = Number | Category | Date | Text


class PlacedColumn(NamedTuple):
    """A column, the places of its numbers in ``features``, and that of the indicator of a missing one."""

    feature: Feature
    numbers: slice
    missing: int


def list_columns(contract: DataContract) -> list[PlacedColumn]:
    """List the columns of a contract in their order; none for a contract of other data."""
    return list(_place(getattr(contract, FEATURES, ())))


def find_label(contract: DataContract) -> Any:
    """Return the label that a contract describes by its words; None for arrays."""
    return getattr(contract, "label", None)


def fill_in_middle(contract: DataContract) -> list[float]:
    """Return the numbers of a record of which nothing is known, and that does not say so; (width,)."""
    middle = 0.0 if getattr(contract, "scaled", "signed") == "signed" else 0.5
    numbers = list[float]()
    for feature, places, _ in list_columns(contract):
        of_range = isinstance(feature, Number | Date)
        numbers += [middle if of_range else 0.0] * (places.stop - places.start) + [0.0]
    return numbers


def describe_value(contract: DataContract, column: PlacedColumn, numbers: NDArray[Any]) -> str:
    """Say what a record has in a column, of its ``features``, (width,): for the owner's own eyes."""
    feature, own = column.feature, numbers[column.numbers]
    if numbers[column.missing]:
        return MISSING
    match feature:
        case Number():
            return f"{_unscale(contract, float(own[0]), feature.low, feature.high):.5g}"
        case Category():
            return feature.values[int(own.argmax())]
        case Date(taken="days"):
            days = round(_unscale(contract, float(own[0]), *feature.days))
            return str(np.datetime64(days, "D"))
        case Date():
            return f"a time of the year ({feature.taken.replace('_', ' ')})"
        case Text():
            return f"{int(own.sum())} known words"


def _place(features: tuple[Feature, ...]) -> Iterator[PlacedColumn]:
    start = 0
    for feature in features:
        stop = start + count_numbers(feature)
        yield PlacedColumn(feature, slice(start, stop), stop)
        start = stop + 1


def _unscale(contract: DataContract, value: float, low: float, high: float) -> float:
    share = (value + 1) / 2 if getattr(contract, "scaled", "signed") == "signed" else value
    return low + share * (high - low)
