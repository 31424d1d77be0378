"""Linear layers that each see one region: a convolution in as many groups, whose per-patient gradients are known."""

from typing import ClassVar

import torch
from torch import nn

from models.layers.sigmoid import LinearBeforeSigmoid


class _BeforeSigmoid(nn.Conv1d):
    initial_gain: ClassVar[float] = LinearBeforeSigmoid.initial_gain


class LinearByRegion(nn.Module):
    """A linear layer for each region, with weights of its own.

    Args:
        regions: how many.
        inputs: numbers of each.
        outputs: of each.
        bias: whether there is one.
        before_sigmoid: whether it begins as wide as :class:`LinearBeforeSigmoid`.
    """

    def __init__(
        self, regions: int, inputs: int, outputs: int, *, bias: bool = True, before_sigmoid: bool = False
    ) -> None:
        super().__init__()
        kind = _BeforeSigmoid if before_sigmoid else nn.Conv1d
        self.linear = kind(regions * inputs, regions * outputs, 1, groups=regions, bias=bias)
        self._shape = (regions, outputs, inputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return (records, regions, outputs) of ``values`` (records, regions, inputs); there may be times between.

        Times are an axis after the records, here and there.
        """
        regions, outputs, _ = self._shape
        times = values.flatten(2).mT if values.dim() == 4 else values.flatten(1)[:, :, None]
        found: torch.Tensor = self.linear(times)  # (records, regions * outputs, times)
        if values.dim() == 4:
            return found.mT.reshape(values.shape[0], values.shape[1], regions, outputs)
        return found.reshape(values.shape[0], regions, outputs)

    def get_weight(self) -> torch.Tensor:
        """Return the weights; (regions, outputs, inputs)."""
        return self.linear.weight.view(self._shape)

    def get_bias(self) -> torch.Tensor:
        """Return the biases; (regions, outputs)."""
        assert self.linear.bias is not None
        return self.linear.bias.view(self._shape[:2])
