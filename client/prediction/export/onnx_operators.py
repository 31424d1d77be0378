"""Two operators of torch that its ONNX exporter does not know, written in ONNX's own.

Source: ONNX operators, opset 18; the tests compare both with torch.
"""

from collections.abc import Callable
from typing import Any

import torch


def list_translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """List torch's operators, each with the function that writes it."""
    from onnxscript import opset18 as op

    def translate_sort(self: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
        """Sort along an axis; TopK returns equal values in the order of their places, so that it is stable."""
        count = op.Gather(op.Shape(self), op.Constant(value_ints=[dim]))
        return op.TopK(self, count, axis=dim, largest=int(descending), sorted=1)

    def translate_cummax(self: Any, dim: int) -> Any:
        """Compute the greatest value so far along an axis, and the last place where it stood."""
        rank = len(self.shape)
        axis = dim % rank
        count = op.Squeeze(op.Gather(op.Shape(self), op.Constant(value_ints=[axis])))
        steps = op.Range(op.Constant(value_int=0), count, op.Constant(value_int=1))
        here, there = (
            op.Unsqueeze(steps, op.Constant(value_ints=[1])),
            op.Unsqueeze(steps, op.Constant(value_ints=[0])),
        )
        trailing = list(range(2, 1 + rank - axis))
        so_far, places = op.LessOrEqual(there, here), there  # (steps, steps), (1, steps)
        if trailing:
            axes = op.Constant(value_ints=trailing)
            so_far, places = op.Unsqueeze(so_far, axes), op.Unsqueeze(places, axes)
        each = op.Unsqueeze(self, op.Constant(value_ints=[axis]))  # (..., 1, steps, ...)
        first = op.Gather(each, op.Constant(value_ints=[0]), axis=axis + 1)
        along = op.Constant(value_ints=[axis + 1])
        # a step that comes later is replaced by the first one, which changes no maximum
        greatest = op.ReduceMax(op.Where(so_far, each, first), along, keepdims=1)
        stood = op.And(so_far, op.Equal(each, greatest))
        last = op.ReduceMax(op.Where(stood, places, op.Constant(value_int=-1)), along, keepdims=0)
        return op.Squeeze(greatest, along), last

    return {torch.ops.aten.sort.stable: translate_sort, torch.ops.aten.cummax.default: translate_cummax}
