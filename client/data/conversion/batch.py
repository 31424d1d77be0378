"""Define what converters yield: a few records at a time, as the contract's tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Batch:
    """Records of a source, in its order.

    Attributes:
        patients: the normal form of each record's patient; (records,).
        tensors: by the names of the contract's inputs and targets, (records, *shape) each: what a ``.npz`` file of the
            contract would hold. Numbers are not clipped and not scaled yet.
        held_out: whether each record's patient is held out, as the mapping's split says; (records,).
    """

    patients: Sequence[str] = field(repr=False)
    tensors: Mapping[str, NDArray[Any]] = field(repr=False)
    held_out: Sequence[bool] = field(repr=False)
