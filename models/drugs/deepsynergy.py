"""DeepSynergy: how much stronger two drugs are together than apart, in a cell line, from features of all three.

The paper shows every pair to the network twice, as (A, B) and as (B, A). Here both orders are one record: the network
reads both, and the output is their mean, so that it cannot depend on the order.

A "patient" is a pair of drugs that a company tries, in all cell lines: epsilon protects that pair and how it works, and
no person.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.rectifier import LinearBeforeRectifier


class DeepSynergyOptions(Options):
    """The options of ``deepsynergy``.

    Attributes:
        hidden: units of each layer, first to last.
        dropout: after each of them, in training.
    """

    hidden: tuple[Annotated[int, Field(ge=1, le=16384)], Annotated[int, Field(ge=1, le=16384)]] = (8192, 4096)
    dropout: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.2, 0.5)


class DeepSynergy(nn.Module):
    """A perceptron over two drugs and a cell line, in both orders of the drugs."""

    draws_randomly = True

    def __init__(self, options: DeepSynergyOptions, features: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for (before, after), dropout in zip(pairwise((features, *options.hidden)), options.dropout, strict=True):
            layers += [LinearBeforeRectifier(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(options.hidden[-1], count_outputs(outputs)))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``first_drug``, ``second_drug`` and ``cell``, (records, their features).

        The shape is (records, *outputs).
        """
        first, second, cell = (inputs[name] for name in ("first_drug", "second_drug", "cell"))
        orders = [torch.cat(order, dim=1) for order in ((first, second, cell), (second, first, cell))]
        both = self.layers(torch.stack(orders, dim=1))  # (records, 2, numbers)
        return shape_outputs(both.mean(1), self._outputs)


def build(options: DeepSynergyOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepSynergy:
    """Build the network for features of two drugs and of a cell line."""
    return DeepSynergy(options, 2 * sizes["drug_features"] + sizes["cell_features"], outputs)


_PAPER: Final = {"drug_features": 4_387, "cell_features": 3_984}
_EXAMPLE: Final = {"drug_features": 6, "cell_features": 8}

MODEL: Final = ModelEntry(
    title="DeepSynergy: synergy of two drugs in a cell line",
    domain="drugs",
    rate=0.1,
    options=DeepSynergyOptions,
    build=build,
    tasks=("regression", "binary"),
    inputs=(
        Input("first_drug", "number", ("drug_features",), "features of one drug"),
        Input(
            "second_drug", "number", ("drug_features",), "features of the other drug; their order does not matter"
        ),
        Input("cell", "number", ("cell_features",), "expression of genes in the cell line"),
    ),
    citation="Preuer, Lewis, Hochreiter, Bender, Bulusu and Klambauer 2018, DeepSynergy: predicting anti-cancer drug "
    "synergy with Deep Learning, Bioinformatics 34(9):1538-1546",
    repository="https://github.com/KristinaPreuer/DeepSynergy",
    presets={
        "paper": DeepSynergyOptions(),
        # the first layer of the authors' program
        "program": DeepSynergyOptions(hidden=(8182, 4096)),
        "small": DeepSynergyOptions(hidden=(8, 6), dropout=(0.0, 0.0)),
    },
    counts=(
        Count("paper", _PAPER, (), 138_084_353),
        Count("program", _PAPER, (), 137_915_803),
        Count("small", _EXAMPLE, (), 229),
    ),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="a pair of drugs is two records, one for each order, with the same label",
            here="one record, whose output is the mean of both orders",
            why="the pair would be counted twice, and the noise would have to be twice as large",
        ),
        Replacement(
            paper="features without spread are left out, others scaled by the mean and deviation of the training part",
            here="features that are chosen in advance, scaled by the public ranges of the data contract",
            why="means, deviations and the choice tell of the pairs that they were computed from",
        ),
        Replacement(
            paper="the number of epochs is chosen by the loss on a validation part, then all is trained again",
            here="a number of rounds that is fixed in advance",
            why="the choice would have to be paid for, and so would the second training",
        ),
    ),
)
