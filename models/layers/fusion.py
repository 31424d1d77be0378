"""Join encoders of different inputs, each for its own kind of data: an image, a table, a sequence.

===============  =============================================================================================
intermediate     the encoders' features stand side by side, and one head reads them together
late             every branch ends in outputs of its own; they are averaged, or joined by a last layer
===============  =============================================================================================

Source: Huang et al. 2020, Fusion of medical imaging and electronic health records using deep learning, npj Digital
Medicine 3:136 ("joint" and "late" fusion there).

Rules: an encoder takes one tensor, records first, and gives (records, width); the inputs are named as the encoders are,
and taken in their order.
"""

from collections.abc import Mapping

import torch
from torch import nn


class IntermediateFusion(nn.Module):
    """A head over the features of all encoders.

    Args:
        encoders: by the name of their input.
        head: takes the features side by side, (records, sum of the widths).
    """

    def __init__(self, encoders: Mapping[str, nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.head = head

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return what the head gives of all features; (records, outputs)."""
        features: torch.Tensor = self.head(_join(self.encoders, inputs))
        return features


class LateFusion(nn.Module):
    """The mean of the branches' outputs, or what a last layer gives of them.

    The mean of logits is the logarithm of the geometric mean of the branches' odds.

    Args:
        branches: by the name of their input; each gives (records, outputs).
        joint: takes the outputs side by side, (records, branches * outputs); None averages them.
    """

    def __init__(self, branches: Mapping[str, nn.Module], joint: nn.Module | None = None) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(branches)
        self.joint = joint

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the joint outputs; (records, outputs)."""
        if self.joint is None:
            return torch.stack([branch(inputs[name]) for name, branch in self.branches.items()]).mean(0)
        joined: torch.Tensor = self.joint(_join(self.branches, inputs))
        return joined


def _join(encoders: nn.ModuleDict, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([encoder(inputs[name]) for name, encoder in encoders.items()], dim=1)
