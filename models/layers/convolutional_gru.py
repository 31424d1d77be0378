"""Gated recurrent units that walk through a volume along one axis, and along all axes in both directions.

The states of a step are maps over the other two axes, and matrices are convolutions over them (Andermatt et al. 2016):

    z, r = sigmoid(W x + b + U h);  c = tanh(W' x + b' + r . (U' h));  h <- z h + (1 - z) c

Rules:

* the reset gate r is applied after the convolution of the state, which has no bias;
* the first state is zero, and gates begin open: 1 is added to what goes into z and r;
* what comes from the volume is one call of a convolution for all steps; what comes from the state is one call a step.
"""

from typing import Final

import torch
from torch import nn

_OPEN: Final = 1.0
AXES: Final = (2, 3, 4)
"""Of volumes (records, channels, depth, height, width), those that are walked along."""


class ConvolutionalGatedUnits(nn.Module):
    """Gated units that walk along the third axis of what they are given.

    Args:
        channels: of the volume.
        width: how many maps a state has.
        kernel: height and width of the convolutions; odd.
    """

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        middle = kernel // 2
        self.input = nn.Conv3d(channels, 3 * width, (1, kernel, kernel), padding=(0, middle, middle))
        self.state = nn.Conv2d(width, 3 * width, kernel, padding=middle, bias=False)
        self._width = width

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Return the state after every step; (records, channels, steps, *plane) -> (records, width, steps, *plane)."""
        gates, candidates = self.input(volume).split([2 * self._width, self._width], dim=1)
        state = torch.zeros_like(candidates[:, :, 0])
        states = []
        for gate, candidate in zip((gates + _OPEN).unbind(2), candidates.unbind(2), strict=True):
            to_gates, to_candidate = self.state(state).split([2 * self._width, self._width], dim=1)
            update, reset = torch.sigmoid(gate + to_gates).chunk(2, dim=1)
            state = torch.lerp(torch.tanh(candidate + reset * to_candidate), state, update)
            states.append(state)
        return torch.stack(states, dim=2)


class MultiDimensionalGatedUnits(nn.Module):
    """The mean of six walks: along each axis of a volume, forward and backward, each with its own weights.

    Args: those of :class:`ConvolutionalGatedUnits`.
    """

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.walks = nn.ModuleList(ConvolutionalGatedUnits(channels, width, kernel) for _ in range(2 * len(AXES)))

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Return the mean state at every voxel of ``volume`` (records, channels, *space); (records, width, *space)."""
        found = []
        for place, walk in enumerate(self.walks):
            axis, backward = AXES[place // 2], place % 2 == 1
            turned = volume.transpose(2, axis)
            states = walk(turned.flip(2)).flip(2) if backward else walk(turned)
            found.append(states.transpose(2, axis))
        return torch.stack(found).mean(0)
