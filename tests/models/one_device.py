"""A device that computes nothing, for tests of where tensors are on machines without a graphics processor.

The device is torch's ``meta``: tensors have shapes and types there, and no numbers. What a program asks of the numbers
is answered with numbers that mean nothing. :func:`one_device` refuses what a graphics processor refuses: an
operation on tensors of which some are on the device and some on the CPU. A single number may be on the CPU, and
indices, and what is copied.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
import torch.fx.experimental._config
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE: Final = torch.device("meta")
_aten: Final = torch.ops.aten
_COPIES: Final = (_aten.copy_.default, _aten._to_copy.default)
_INDEXED: Final = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default)
_INDICES: Final = (torch.int64, torch.bool)


class MixedDevicesError(Exception):
    """An operation has tensors on the device and on the CPU."""


@contextlib.contextmanager
def one_device() -> Iterator[None]:
    """Refuse operations on tensors of several devices inside the block."""
    config: Any = torch.fx.experimental._config
    # what is looked for among numbers is found everywhere
    with config.patch(meta_nonzero_assume_all_nonzero=True), _OneDevice():  # type: ignore[no-untyped-call]
        yield


class _OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Look at an operation before it is carried out."""
        named = dict(kwargs or {})
        found = [each for each in tree_leaves((args, named)) if isinstance(each, torch.Tensor)]
        there = [each for each in found if each.device == DEVICE]
        here = [each for each in found if each.device != DEVICE and each.dim()]
        indexed = func in _INDEXED and found[0].device == DEVICE and all(each.dtype in _INDICES for each in here)
        if there and here and func not in _COPIES and not indexed:
            raise MixedDevicesError(f"{func}: {[(str(each.device), tuple(each.shape)) for each in found]}")
        answer = _ANSWERS.get(func) if there else None
        return func(*args, **named) if answer is None else answer(*args, **named)


def _invent_number(tensor: torch.Tensor) -> bool | int | float:
    if tensor.dtype == torch.bool:
        return True
    return 0.25 if tensor.dtype.is_floating_point else 1


def _copy(tensor: torch.Tensor, **named: Any) -> torch.Tensor:
    if named.get("device") in (None, DEVICE):
        return torch.empty_like(tensor, **named)
    dtype = named.get("dtype") or tensor.dtype
    return torch.full(tensor.shape, 0.25 if dtype.is_floating_point else 0, dtype=dtype)


def _invent_distinct(
    tensor: torch.Tensor, ordered: bool = True, inverse: bool = False, counts: bool = False
) -> tuple[torch.Tensor, ...]:
    number = tensor.numel()
    return (
        torch.zeros(number, dtype=tensor.dtype, device=DEVICE),
        torch.zeros(tensor.shape if inverse else 0, dtype=torch.int64, device=DEVICE),
        torch.zeros(number if counts else 0, dtype=torch.int64, device=DEVICE),
    )


_ANSWERS: Final[Mapping[Any, Callable[..., Any]]] = {
    _aten._local_scalar_dense.default: _invent_number,
    _aten._to_copy.default: _copy,
    _aten._unique2.default: _invent_distinct,
    _aten.equal.default: lambda left, right: True,
}
"""What asks for numbers, and how it is answered."""
