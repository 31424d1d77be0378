"""What terms may say about a model's layers, and small models to say it of."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from models.parameters.trainable import apply_layer_choice
from privacy.study import Model


def asked(**choices: Any) -> Model:
    """A choice of layers, as terms hold it."""
    start: dict[str, Any] = {"start": "a" * 64} if set(choices) - {"personal"} else {}
    return Model(name="mlp", **start, **choices)


class Convolutional(nn.Module):
    """Layers from ``features`` to one logit a record."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = self.layers(inputs["features"])
        return logits.squeeze(1)


def convolutional() -> nn.Module:
    """``features`` (records, 2, 6, 6) -> (records,): windows, strides, paddings and dilations of several kinds."""
    return Convolutional(
        nn.Sequential(
            nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), bias=False),
            nn.GroupNorm(2, 4),
            nn.Tanh(),
            nn.Conv2d(4, 5, 2, dilation=2, padding=1, padding_mode="reflect"),
            nn.Flatten(),
            nn.Linear(5 * 3 * 5, 1),
        )
    )


def arranged(module: nn.Module, **choices: Any) -> nn.Module:
    """``module`` with its layers as chosen, and random values, the same ones every time."""
    apply_layer_choice(module, asked(**choices))
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=random) - 0.5)
    return module
