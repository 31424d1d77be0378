"""Find the groups of patients that the contract names, so that figures can be shown for each.

A group is a word of a category column, or a value of an input that is one flag or one id. Columns with more
than ``MOST_GROUPS`` words are left out, unless a person asks for them; numbers make no groups, because the contract
names no limits between them.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from client.data.contents import Contents
from client.prediction.columns import FEATURES, MISSING, list_columns
from privacy.errors import ReleaseError
from privacy.study import Category
from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Flags, Ids

MOST_GROUPS: Final = 8


class Group(NamedTuple):
    """A group of records: its column or input, its word, and the records in it, (records,) bool."""

    column: str
    word: str
    members: NDArray[np.bool_]


def find_groups(contract: DataContract, contents: Contents, asked: Sequence[str] = ()) -> list[Group]:
    """Find the groups of all columns that the contract names, or of those asked for.

    Raises:
        ReleaseError: a column was asked for that makes no groups; the message lists those that do.
    """
    known = _list_groups(contract, contents)
    if strange := sorted(set(asked) - set(known)):
        offered = ", ".join(known) or "none: the contract has no column of words"
        raise ReleaseError(
            f"--subgroup {strange[0]}: the contract has no groups of it; it has groups of: {offered}"
        )
    return [
        group
        for name, groups in known.items()
        for group in groups
        if name in asked or (not asked and len(groups) <= MOST_GROUPS + 1)
    ]


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
