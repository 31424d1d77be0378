"""D-GEX: a perceptron from the expression of landmark genes to that of all others.

A panel measures some 1,000 genes that were chosen for how much they say of the rest; the network has an output for each
of the rest. With thousands of outputs most parameters are in the last layer: a narrow last hidden layer makes that
layer's weights a product of few factors, which is what noise leaves most of.

A record is a sample, and with one sample for each patient epsilon protects a patient.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.dense import list_hidden_layers
from models.layers.heads import count_outputs, shape_outputs


class DGexOptions(Options):
    """The options of ``d-gex``.

    Attributes:
        hidden: widths of the hidden layers, first to last.
        dropout: the part of each hidden layer that is set to 0 in training.
    """

    hidden: tuple[Annotated[int, Field(ge=1, le=16384)], ...] = Field(
        default=(9000, 9000, 9000), min_length=1, max_length=8
    )
    dropout: float = Field(default=0.1, ge=0, lt=1)


class DGex(nn.Module):
    """Hidden layers with hyperbolic tangents, and a linear output for each target gene."""

    draws_randomly = True

    def __init__(self, options: DGexOptions, landmarks: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*list_hidden_layers((landmarks, *options.hidden), options.dropout, nn.Tanh))
        self.targets = nn.Linear(options.hidden[-1], count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the expression of the target genes from ``features`` (records, landmarks); (records, *outputs)."""
        return shape_outputs(self.targets(self.layers(inputs["features"])), self._outputs)


def build(options: DGexOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DGex:
    """Build the network for ``landmarks`` genes and as many target genes as the task has numbers."""
    return DGex(options, sizes["landmarks"], outputs)


_PANEL: Final = {"landmarks": 943}

MODEL: Final = ModelEntry(
    title="D-GEX: expression of all genes from landmark genes",
    domain="genomics",
    options=DGexOptions,
    build=build,
    tasks=("regression",),
    inputs=(
        Input(
            "features", "number", ("landmarks",), "the expression of each landmark gene, less a public reference"
        ),
    ),
    citation="Chen, Li, Narayan, Subramanian and Xie 2016, Gene expression inference with deep learning, "
    "Bioinformatics 32(12):1832-1839",
    repository="https://github.com/uci-cbcl/D-GEX",
    presets={
        "paper": DGexOptions(),
        "one-layer": DGexOptions(hidden=(3000,), dropout=0.25),
        "small": DGexOptions(hidden=(8,), dropout=0.0),
    },
    # the paper's 9,520 target genes; its two networks had one half of them each
    counts=(
        Count("paper", _PANEL, (9_520,), 256_203_520),
        Count("paper", _PANEL, (4_760,), 213_358_760),
        Count("one-layer", _PANEL, (4_760,), 17_116_760),
        Count("small", {"landmarks": 20}, (5,), 213),
        Count("small", {"landmarks": 20}, (), 177),
    ),
    example={"landmarks": 20},
    rate=0.3,
    figures="a mean absolute error 15.33 % below that of linear regression, over 9,520 genes and 11,101 samples of GEO "
    "(Chen et al. 2016)",
    replaced=(
        Replacement(
            paper="quantile normalisation, and each gene less its mean and divided by its deviation, over all samples, "
            "those of the tests too",
            here="each gene less its mean in public samples",
            why="means and deviations of the cohort are read from its patients",
        ),
        Replacement(
            paper="squared errors summed over the genes",
            here="the task's mean over them",
            why="then the clipping norm does not depend on the number of genes",
        ),
        Replacement(
            paper="two networks, each for one half of the targets",
            here="one for all of them",
            why="two fitted into the memory of the paper's machine; a patient's gradient over both is clipped once",
        ),
        Replacement(
            paper="the rate falls whenever the error of training rises; upper layers learn three times as fast",
            here="the study's schedule, and one rate",
            why="an error is computed from patients: looking at it costs privacy",
        ),
    ),
)
