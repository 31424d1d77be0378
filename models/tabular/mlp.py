"""Models for a table: one logit from the numbers of a record.

Built of linear layers, normalisation within a record, and smooth activations. Nothing mixes records (no batch
normalisation), so the gradient of one record exists; smooth activations keep gradients even, which clipping rewards
(Papernot et al. 2021, "Tempered sigmoid activations for deep learning with differential privacy").
"""

from collections.abc import Sequence
from typing import Final, Literal

import torch
from torch import nn

_ACTIVATIONS: Final = {"elu": nn.ELU, "tanh": nn.Tanh}


class OneLogit(nn.Module):
    """Layers that end in one number a record: (records, inputs) -> (records,)."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The logits of ``features`` (records, inputs); (records,)."""
        logits: torch.Tensor = self.layers(features)  # (records, 1)
        return logits.squeeze(1)


def logistic(inputs: int) -> OneLogit:
    """Logistic regression: ``inputs`` weights and a bias."""
    return OneLogit(nn.Sequential(nn.Linear(inputs, 1)))


def mlp(
    inputs: int,
    hidden: Sequence[int],
    activation: Literal["elu", "tanh"],
    norm: Literal["none", "layer"] = "none",
) -> OneLogit:
    """A multi-layer perceptron with the hidden widths ``hidden``, first to last, normalised if ``norm`` says so."""
    layers: list[nn.Module] = []
    width = inputs
    for units in hidden:
        layers.append(nn.Linear(width, units))
        if norm == "layer":
            layers.append(nn.LayerNorm(units))
        layers.append(_ACTIVATIONS[activation]())
        width = units
    return OneLogit(nn.Sequential(*layers, nn.Linear(width, 1)))
