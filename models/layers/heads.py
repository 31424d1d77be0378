"""The last step of a model: from its output numbers to one logit for each record."""

import torch
from torch import nn


class OneLogit(nn.Module):
    """Layers with one output number for each record: (records, inputs) -> (records,)."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of ``features`` (records, inputs); (records,)."""
        logits: torch.Tensor = self.layers(features)  # (records, 1)
        return logits.squeeze(1)
