"""Find the groups of patients that the contract names, so that figures can be shown for each.

A group is a word of a category column, or a value of an input that is one flag or one id. Columns with more
than ``MOST_GROUPS`` words are left out, unless a person asks for them. The contract names no limits between numbers: a
number's column makes groups where a person names the limits (:class:`Bands`). Groups in data that the contract does not
have are in ``own_groups.py``.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from client.data.contents import Contents
from client.data.encoding import read_number
from client.data.scaling import scale
from client.prediction.columns import FEATURES, MISSING, list_columns
from privacy.errors import ReleaseError
from privacy.study import Category, Number
from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Flags, Ids

MOST_GROUPS: Final = 8


class Group(NamedTuple):
    """A group of records: its column or input, its word, and the records in it, (records,) bool."""

    column: str
    word: str
    members: NDArray[np.bool_]


class Bands(NamedTuple):
    """Rising limits between bands of a number's column, in the contract's unit; a limit begins the band above it."""

    column: str
    limits: tuple[float, ...]


def read_bands(text: str) -> Bands:
    """Read ``age=40,65``.

    Raises:
        ReleaseError: it is written otherwise, or the limits do not rise.
    """
    column, _, listed = text.rpartition("=")
    limits = [read_number(each.strip()) for each in listed.split(",")]
    known = tuple(each for each in limits if each is not None)
    if not column or len(known) < len(limits) or any(low >= high for low, high in itertools.pairwise(known)):
        raise ReleaseError(
            f"--bands {text}: expected a column of the contract and rising limits, such as age=40,65 or weight=62.5"
        )
    return Bands(column, known)


def name_bands(limits: Sequence[float]) -> list[str]:
    """Name the bands between limits, from the lowest.

    >>> name_bands([40, 65.5])
    ['under 40', '40 to under 65.5', '65.5 or more']
    """
    shown = [f"{limit:.12g}" for limit in limits]
    between = [f"{low} to under {high}" for low, high in itertools.pairwise(shown)]
    return [f"under {shown[0]}", *between, f"{shown[-1]} or more"]


def find_band(
    number: Number, scaled: Literal["signed", "unit"], values: NDArray[Any], limits: Sequence[float]
) -> NDArray[np.int64]:
    """Return the place of each value's band, (records,), from values as the contract scales them.

    The limits are scaled by the same program to the same float32, so that a value that is a limit is not below it.
    """
    edges = scale(np.array(limits), number.low, number.high, scaled).astype(np.float32)
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def find_groups(
    contract: DataContract, contents: Contents, asked: Sequence[str] = (), bands: Sequence[Bands] = ()
) -> list[Group]:
    """Find the groups of all columns that the contract names, or of those asked for; then those of ``bands``.

    Raises:
        ReleaseError: a column was asked for that makes no groups, or limits are not within its range; the message
            lists those that do, or the range.
    """
    known = _list_groups(contract, contents)
    if strange := sorted(set(asked) - set(known)):
        offered = ", ".join(known) or "none: the contract has no column of words"
        raise ReleaseError(
            f"--subgroup {strange[0]}: the contract has no groups of it; it has groups of: {offered}"
        )
    named = [
        group
        for name, groups in known.items()
        for group in groups
        if name in asked or (not asked and len(groups) <= MOST_GROUPS + 1)
    ]
    return named + [group for each in bands for group in _list_bands(contract, contents, each)]


def _list_groups(contract: DataContract, contents: Contents) -> Mapping[str, list[Group]]:
    """List the groups of every column or input, by its name."""
    found = dict[str, list[Group]]()
    columns = list_columns(contract)
    features = np.asarray(contents.inputs[FEATURES][:]) if columns else np.empty((0, 0))
    for column in columns:
        if isinstance(column.feature, Category):
            own = features[:, column.numbers.start : column.missing + 1] == 1  # each word, and a missing one
            words = [*column.feature.values, MISSING]
            found[column.feature.name] = [
                Group(column.feature.name, word, own[:, place]) for place, word in enumerate(words)
            ]
    for tensor in contract.list_inputs():
        if tensor.shape == () and isinstance(tensor, Flags | Ids):
            values = np.asarray(contents.inputs[tensor.name][:]).astype(np.int64)
            words = ["no", "yes"] if isinstance(tensor, Flags) else [str(each) for each in range(tensor.values)]
            found[tensor.name] = [Group(tensor.name, word, values == place) for place, word in enumerate(words)]
    return found


def _list_bands(contract: DataContract, contents: Contents, bands: Bands) -> Iterator[Group]:
    """Yield the bands of a column of numbers, and who lacks one.

    Raises:
        ReleaseError: there is no such column, or a limit is not within its range.
    """
    numbers = {each.feature.name: each for each in list_columns(contract) if isinstance(each.feature, Number)}
    column = numbers.get(bands.column)
    if column is None or not isinstance(column.feature, Number):
        raise ReleaseError(
            f"--bands {bands.column}: the contract has no such column of numbers; it has: "
            f"{', '.join(numbers) or 'none'}; groups of other columns come from a mapping file: --groups"
        )
    low, high = column.feature.low, column.feature.high
    if not low < bands.limits[0] <= bands.limits[-1] < high:
        raise ReleaseError(
            f"--bands {bands.column}: expected limits between {low:g} and {high:g}, to which the contract clips the "
            f"column, got {', '.join(f'{each:g}' for each in bands.limits)}"
        )
    features = np.asarray(contents.inputs[FEATURES][:])
    absent = features[:, column.missing] == 1
    scaled: Literal["signed", "unit"] = getattr(contract, "scaled", "signed")
    places = find_band(column.feature, scaled, features[:, column.numbers.start], bands.limits)
    for place, word in enumerate(name_bands(bands.limits)):
        yield Group(bands.column, word, (places == place) & ~absent)
    yield Group(bands.column, MISSING, absent)
