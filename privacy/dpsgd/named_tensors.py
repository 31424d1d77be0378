"""Handle what a record consists of: one tensor, or several tensors by name.

Rules:

* The first axis of every tensor counts the records; all tensors of a batch have equally many.
* A plain tensor and a mapping are handled alike; a function that returns tensors returns them in the form that it
  was given.
* Targets may be a mapping without tensors, for a model that learns from its inputs alone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

Tensors = torch.Tensor | Mapping[str, torch.Tensor]
Inputs = Tensors
"""What a module is called on: (records, ...), or a mapping from names to such tensors."""
Targets = Tensors
"""What is known of the same records beside the inputs, likewise."""
Shapes = tuple[tuple[str, tuple[int, ...], torch.dtype], ...]
"""Name, shape of one record and type of each tensor."""


def map_tensors(change: Callable[[torch.Tensor], torch.Tensor], tensors: Tensors) -> Tensors:
    """Apply ``change`` to each tensor."""
    if isinstance(tensors, torch.Tensor):
        return change(tensors)
    return {name: change(tensor) for name, tensor in tensors.items()}


def list_tensors(tensors: Tensors) -> list[torch.Tensor]:
    """List the tensors in the order of their names in the mapping."""
    return [tensors] if isinstance(tensors, torch.Tensor) else list(tensors.values())


def select_rows(tensors: Tensors, rows: Any) -> Tensors:
    """Return the records ``rows``: a slice, or a tensor of indices or of bools on any device."""
    if isinstance(rows, torch.Tensor):
        return map_tensors(lambda tensor: tensor[rows.to(tensor.device)], tensors)
    return map_tensors(lambda tensor: tensor[rows], tensors)


def repeat_first_record(tensors: Tensors, records: int) -> Tensors:
    """Return ``records`` copies of the first record."""
    return map_tensors(lambda tensor: tensor[:1].expand(records, *tensor.shape[1:]).clone(), tensors)


def count_record_bytes(tensors: Tensors) -> int:
    """Count the bytes of one record."""
    return sum(tensor[:1].nbytes for tensor in list_tensors(tensors))


def describe_shapes(tensors: Tensors) -> Shapes:
    """Return names, shapes of a record, and types; batches with the same ones run through a module alike."""
    named: Iterable[tuple[str, torch.Tensor]] = (
        [("", tensors)] if isinstance(tensors, torch.Tensor) else tensors.items()
    )
    return tuple((name, tuple(tensor.shape[1:]), tensor.dtype) for name, tensor in named)


def find_device(tensors: Tensors) -> torch.device:
    """Return the device of the first tensor.

    Raises:
        ValueError: there is no tensor.
    """
    for tensor in list_tensors(tensors):
        return tensor.device
    raise ValueError("a batch of inputs has no tensor")
