"""Logistic regression: one layer, from the numbers of a record to the outputs of the task."""

from collections.abc import Mapping
from typing import Final

import torch
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Sizes
from models.layers.heads import count_outputs, shape_outputs


class LogisticOptions(Options):
    """The options of ``logistic``: none."""


class Logistic(nn.Module):
    """A linear layer."""

    def __init__(self, features: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, count_outputs(outputs)))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of ``features`` (records, features); (records, *outputs)."""
        return shape_outputs(self.layers(inputs["features"]), self._outputs)


def build(options: LogisticOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Logistic:
    """Build a logistic regression: for each output a weight for every feature, and a bias."""
    return Logistic(sizes["features"], outputs)


MODEL: Final = ModelEntry(
    title="Logistic regression",
    domain="tabular",
    options=LogisticOptions,
    build=build,
    tasks=("binary", "multiclass", "ordinal", "multilabel", "regression", "survival"),
    inputs=(Input("features", "number", ("features",), "the numbers of a record"),),
    citation="Cox 1958, The regression analysis of binary sequences",
    presets={"paper": LogisticOptions(), "small": LogisticOptions()},
    counts=(Count("paper", {"features": 60}, (), 61), Count("small", {"features": 60}, (3,), 183)),
    example={"features": 12},
)
