"""A stack of denoising autoencoders, trained layer by layer without labels, then with a head for the task.

Layer k learns to restore what the layers below it give, from a copy in which some numbers were set to zero: objective
``layer-k``. The objective ``task`` trains all encoders together with a linear head on the highest features.

Source: Vincent, Larochelle, Lajoie, Bengio and Manzagol 2010, Stacked denoising autoencoders, Journal of Machine
Learning Research 11:3371-3408.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import nn
from torch.nn import functional

from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs
from models.layers.sigmoid import LinearBeforeSigmoid

MOST_LAYERS: Final = 3
"""The most layers of a stack: each is an objective that terms may name."""
OBJECTIVES: Final[Mapping[str, tuple[str, ...]]] = {
    f"layer-{place + 1}": (f"autoencoders.{place}",) for place in range(MOST_LAYERS)
}
"""The objectives of a stack, each with the layers that it trains."""
TASK_LAYERS: Final = (*(f"autoencoders.{place}.encoder" for place in range(MOST_LAYERS)), "head")
"""The layers that the task trains."""


class DenoisingAutoencoder(nn.Module):
    """A sigmoid encoder and a decoder with weights of its own.

    Args:
        features: how many it encodes.
        units: how many features it gives.
        corruption: the part of the features that is set to zero in training.
    """

    def __init__(self, features: int, units: int, corruption: float) -> None:
        super().__init__()
        self.encoder = LinearBeforeSigmoid(features, units)
        self.decoder = nn.Linear(units, features)
        self._corruption = corruption

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Encode ``values`` (records, features); (records, units), in (0, 1)."""
        return torch.sigmoid(self.encoder(values))

    def compute_losses(self, values: torch.Tensor) -> torch.Tensor:
        """Compute the cross-entropy between ``values`` (records, features) and their restoration; (records,).

        It is the mean over the features.
        """
        corrupted = values
        if self.training:
            corrupted = values * (torch.rand_like(values) >= self._corruption)
        restored = self.decoder(self(corrupted))
        return functional.binary_cross_entropy_with_logits(restored, values, reduction="none").mean(1)


class DenoisingStack(nn.Module):
    """Autoencoders, one on top of the other, and a head.

    Args:
        features: numbers of a record, each in [0, 1].
        hidden: units of each layer, lowest first.
        corruption: the part of a layer's numbers that is set to zero while it is pre-trained.
        outputs: the shape of a record's outputs.
        beside: further numbers of a record, which the head reads beside the highest features.
    """

    objective: str = "task"
    draws_randomly = True

    def __init__(
        self, features: int, hidden: Sequence[int], corruption: float, outputs: tuple[int, ...], beside: int = 0
    ) -> None:
        super().__init__()
        widths = (features, *hidden)
        self.autoencoders = nn.ModuleList(
            DenoisingAutoencoder(below, units, corruption) for below, units in pairwise(widths)
        )
        self.head = nn.Linear(widths[-1] + beside, count_outputs(outputs))
        self._outputs = outputs

    def compute(
        self, values: torch.Tensor, beside: torch.Tensor | None = None
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of ``values`` (records, features), or the loss of the layer that is pre-trained.

        The head reads ``beside`` (records, beside) too, where it was made for it.

        Raises:
            ModelError: the objective is that of a layer which is not there.
        """
        if self.objective == "task":
            read = self.encode(values, len(self.autoencoders))
            if beside is not None:
                read = torch.cat([read, beside], dim=1)
            return shape_outputs(self.head(read), self._outputs)
        place = list(OBJECTIVES).index(self.objective)
        if place >= len(self.autoencoders):
            raise ModelError(f"objective {self.objective}: the model has {len(self.autoencoders)} layers")
        autoencoder = self.autoencoders[place]
        assert isinstance(autoencoder, DenoisingAutoencoder)
        # the layers below are not trained again
        return {"own_loss": autoencoder.compute_losses(self.encode(values, place).detach())}

    def encode(self, values: torch.Tensor, layers: int) -> torch.Tensor:
        """Encode ``values`` (records, features) by the lowest ``layers`` layers; (records, units)."""
        for autoencoder in list(self.autoencoders)[:layers]:
            values = autoencoder(values)
        return values
