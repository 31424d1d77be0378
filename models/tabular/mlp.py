"""A multi-layer perceptron, from the numbers of a record to the outputs of the task."""

from collections.abc import Mapping
from typing import Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.heads import count_outputs, shape_outputs

_ACTIVATIONS: Final = {"elu": nn.ELU, "tanh": nn.Tanh}


class MlpOptions(Options):
    """The options of ``mlp``: widths of the hidden layers, first to last, their activation, and a norm before it.

    ``norm: layer`` normalises within each record, never across records.
    """

    hidden: tuple[Units, ...] = Field(min_length=1, max_length=8)
    activation: Literal["elu", "tanh"] = "elu"
    norm: Literal["none", "layer"] = "none"


class Perceptron(nn.Module):
    """Hidden layers, each followed by a norm and a smooth activation, and a linear layer."""

    def __init__(self, options: MlpOptions, features: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = features
        for units in options.hidden:
            layers.append(nn.Linear(width, units))
            if options.norm == "layer":
                layers.append(nn.LayerNorm(units))
            layers.append(_ACTIVATIONS[options.activation]())
            width = units
        self.layers = nn.Sequential(*layers, nn.Linear(width, count_outputs(outputs)))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``features`` (records, features); (records, *outputs)."""
        return shape_outputs(self.layers(inputs["features"]), self._outputs)


def build(options: MlpOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Perceptron:
    """Build a perceptron with the hidden widths of ``options``, first to last."""
    return Perceptron(options, sizes["features"], outputs)


MODEL: Final = ModelEntry(
    title="Multi-layer perceptron",
    domain="tabular",
    options=MlpOptions,
    build=build,
    tasks=("binary", "multiclass", "ordinal", "multilabel", "regression", "survival"),
    inputs=(Input("features", "number", ("features",), "the numbers of a record"),),
    citation="Rumelhart, Hinton and Williams 1986, Learning representations by back-propagating errors",
    presets={"paper": MlpOptions(hidden=(64, 32)), "small": MlpOptions(hidden=(8,), activation="tanh")},
    counts=(Count("paper", {"features": 60}, (), 6017), Count("small", {"features": 12}, (), 113)),
    example={"features": 12},
    replaced=(
        Replacement(
            paper="rectified linear units, batch normalisation",
            here="ELU or tanh, layer normalisation",
            why="no layer may mix records; gradients of smooth activations vary less in length, so that clipping "
            "changes them less (Papernot et al. 2021, Tempered sigmoid activations)",
        ),
    ),
)
