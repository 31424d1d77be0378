"""Find out which axis of a layer's tensors counts the records, by running the module on batches of two sizes.

Rules:

* The axis is not assumed. :func:`find_record_axes` calls the module on two and on three copies of a record; the
  axis that grows in proportion counts the records.
* A layer whose first input or output does not grow with the records is refused by name.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from privacy.dpsgd.named_tensors import Inputs, count_record_bytes, repeat_first_record
from privacy.errors import TermsError

_FEW, _MORE = 2, 3  # records in the two calls
_COPIES = 4  # a tensor between layers, its gradient, and intermediate results of both


@dataclass(frozen=True)
class Axes:
    """The axes that count records in one call of a layer; None where an input has no such axis."""

    inputs: tuple[int | None, ...]
    output: int


@dataclass(frozen=True)
class RecordAxes:
    """What two small calls of a module show about its layers.

    Attributes:
        axes: for each layer, one entry a call.
        record_bytes: about how much memory one record takes in both passes.
    """

    axes: Mapping[str, tuple[Axes, ...]]
    record_bytes: int


def find_record_axes(module: nn.Module, layers: Mapping[str, nn.Module], inputs: Inputs) -> RecordAxes:
    """Find the axes of records in every call of ``layers``.

    Args:
        module: the whole model.
        layers: the layers of interest, by their names in the module.
        inputs: at least one record.

    Raises:
        TermsError: a layer is called on something that does not grow with the records.
    """
    few, few_bytes = _collect_shapes(module, layers, inputs, _FEW)
    more, more_bytes = _collect_shapes(module, layers, inputs, _MORE)
    axes = {}
    for name in layers:
        if len(few[name]) != len(more[name]):
            raise TermsError(
                f"{describe_layer(name, layers[name])} is called more often when there are more records"
            )
        pairs = zip(few[name], more[name], strict=True)
        axes[name] = tuple(_find_axes(describe_layer(name, layers[name]), two, three) for two, three in pairs)
    return RecordAxes(axes, max(1, more_bytes - few_bytes) * _COPIES)


def describe_layer(name: str, layer: nn.Module) -> str:
    """Describe a layer for error messages."""
    return f"layer '{name}' ({type(layer).__name__})"


_Shape = tuple[int, ...] | None


def _collect_shapes(
    module: nn.Module, layers: Mapping[str, nn.Module], inputs: Inputs, records: int
) -> tuple[dict[str, list[tuple[list[_Shape], _Shape]]], int]:
    """Return the shapes of inputs and output of every call on ``records`` records, and the bytes of all outputs."""
    seen: dict[str, list[tuple[list[_Shape], _Shape]]] = {name: [] for name in layers}
    held = count_record_bytes(inputs) * records

    def look(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            seen[name].append(([_read_shape(value) for value in args], _read_shape(output)))

        return hook

    def weigh(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal held
        held += _count_bytes(output)

    with contextlib.ExitStack() as stack:
        for name, layer in layers.items():
            stack.enter_context(remove_at_end(layer.register_forward_hook(look(name), prepend=True)))
        for layer in module.modules():
            stack.enter_context(remove_at_end(layer.register_forward_hook(weigh)))
        with torch.no_grad():
            module(repeat_first_record(inputs, records))
    return seen, held


def _read_shape(value: Any) -> _Shape:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


def _count_bytes(output: Any) -> int:
    if isinstance(output, torch.Tensor):
        return output.nbytes
    if isinstance(output, Mapping):
        return sum(_count_bytes(value) for value in output.values())
    return sum(_count_bytes(value) for value in output) if isinstance(output, tuple | list) else 0


def _find_axes(layer: str, few: tuple[list[_Shape], _Shape], more: tuple[list[_Shape], _Shape]) -> Axes:
    inputs = tuple(_find_axis(two, three) for two, three in zip(few[0], more[0], strict=True))
    output = _find_axis(few[1], more[1])
    if output is None or not inputs or inputs[0] is None:
        raise TermsError(
            f"{layer} is called on something that is not one tensor with an entry for each record, so no patient's "
            "gradient is seen there; expand its input to every record"
        )
    return Axes(inputs, output)


def _find_axis(few: _Shape, more: _Shape) -> int | None:
    """Return the one axis that grows in proportion to the records; None if there is none."""
    if few is None or more is None or len(few) != len(more):
        return None
    grown = [axis for axis, (two, three) in enumerate(zip(few, more, strict=True)) if two != three]
    if len(grown) != 1 or few[grown[0]] * _MORE != more[grown[0]] * _FEW:
        return None
    return grown[0]


@contextlib.contextmanager
def remove_at_end(handle: Any) -> Iterator[None]:
    """Remove a hook when the block ends."""
    try:
        yield
    finally:
        handle.remove()
