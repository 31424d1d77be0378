"""Convolutions over sequences of one-hot letters: filters, a norm, a rectifier and a pooling.

Rules:

* letters stand on the first axis of a record, places on the second; the order of letters is the data contract's;
* the norm is of one record: its filters in groups, over the places;
* a pooling keeps the largest of some neighbouring places, which says whether a filter's motif is there, or their sum,
  which says how often; what is left over at the end is dropped.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field
from torch import nn

from models.errors import ModelError
from models.layers.image_blocks import count_groups
from models.layers.rectifier import ConvolutionBeforeRectifier

LETTERS: Final = 4
"""Rows of a one-hot sequence of DNA or RNA."""

Norm = Literal["group", "none"]
Pooling = Literal["max", "sum"]
Filters = Annotated[int, Field(ge=1, le=4096)]
Width = Annotated[int, Field(ge=1, le=1000)]


def list_pooled_convolution(
    before: int, filters: int, kernel: int, pool: int, norm: Norm = "none", pooling: Pooling = "max"
) -> list[nn.Module]:
    """List a convolution that ends with the sequence, its norm if there is one, a rectifier and a pooling."""
    norms: list[nn.Module] = [nn.GroupNorm(count_groups(filters), filters)] if norm == "group" else []
    # of the norm 1: the sum. A mean of many places is so small a number that steps hardly change what follows from it
    last = nn.LPPool1d(1, pool) if pooling == "sum" else nn.MaxPool1d(pool)
    return [ConvolutionBeforeRectifier(before, filters, kernel), *norms, nn.ReLU(), last]


def count_pooled_places(name: str, length: int, kernels: Sequence[int], pools: Sequence[int]) -> int:
    """Count the places that are left of ``length`` after convolutions and their poolings.

    Raises:
        ModelError: none is left; ``name`` is the model's in the message.
    """
    left = length
    for kernel, pool in zip(kernels, pools, strict=True):
        left = (left - kernel + 1) // pool
    if left < 1:
        least = 1
        for kernel, pool in zip(reversed(kernels), reversed(pools), strict=True):
            least = least * pool + kernel - 1
        raise ModelError(
            f"{name} needs at least {least} places for kernels of {', '.join(map(str, kernels))} and pools of "
            f"{', '.join(map(str, pools))}; the data have {length}"
        )
    return left
