"""LATE: an autoencoder that fills in the zeros of single-cell expression, of which most are genes that were missed.

::

    h1, h2, h3  = relu(W dropout(h) + b), from the features; the middle one is narrow
    outputs     = softplus(W dropout(h3) + b), as large as log(count + 1), and never below 0

The loss is that of the values that were seen: with the task ``reconstruction``, ``mask`` names flags of values above 0.
The outputs have a value for every gene: keep what was seen, and take from them only what was zero.

TRANSLATE is the same network, first trained on cells of a public reference: write its weights under ``model.start``,
and under ``model.trained`` the layers that go on learning, for example ``hidden.1`` and ``hidden.2``.

A record is a cell. Of a donor there are hundreds: where ``patient`` names the donor, their cells are averaged into one
gradient and epsilon protects the donor; where it names the cell, epsilon protects a cell and no person.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.heads import require_outputs_of_features

_NAME: Final = "late"


class LateOptions(Options):
    """The options of ``late``.

    Attributes:
        hidden: widths of the hidden layers, first to last.
        input_dropout: the part of the features that is set to 0 in training.
        dropout: the part of each hidden layer that is set to 0 in training.
    """

    hidden: tuple[Units, ...] = Field(default=(800, 400, 800), min_length=1, max_length=7)
    input_dropout: float = Field(default=0.2, ge=0, lt=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)


class Late(nn.Module):
    """Rectified layers, each after a dropout, and an output for each gene."""

    draws_randomly = True

    def __init__(self, options: LateOptions, genes: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(*widths) for widths in pairwise((genes, *options.hidden)))
        self.genes = nn.Linear(options.hidden[-1], genes)
        self._input_dropout, self._dropout = options.input_dropout, options.dropout

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the expression of each gene, from that of all genes; (records, genes) both."""
        states = functional.dropout(inputs["features"], self._input_dropout, self.training)
        for layer in self.hidden:
            states = functional.dropout(functional.relu(layer(states)), self._dropout, self.training)
        return functional.softplus(self.genes(states))


def fill_in(seen: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Return ``seen`` with its zeros replaced by ``outputs``; (records, genes) all."""
    return torch.where(seen > 0, seen, outputs)


def build(options: LateOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Late:
    """Build the network for the expression of ``features`` genes.

    Raises:
        ModelError: the task asks for something else than one output a gene.
    """
    return Late(options, require_outputs_of_features(_NAME, sizes, outputs))


MODEL: Final = ModelEntry(
    title="LATE and TRANSLATE: filling in single-cell expression",
    domain="genomics",
    options=LateOptions,
    build=build,
    tasks=("reconstruction",),
    inputs=(
        Input(
            "features",
            "number",
            ("features",),
            "the logarithm of count + 1 of each gene in a cell (base 10 in the paper), 0 where none was seen",
        ),
    ),
    citation="Badsha, Li, Liu, Li, Xian, Banovich and Fu 2020, Imputation of single-cell gene expression with an "
    "autoencoder neural network, Quantitative Biology 8:78-94",
    repository="https://github.com/audreyqyfu/LATE",
    presets={
        "paper": LateOptions(),
        "small": LateOptions(hidden=(64, 32, 64), input_dropout=0.1, dropout=0.0),
    },
    counts=(
        Count("paper", {"features": 949}, (949,), 2_161_349),
        Count("paper", {"features": 10_000}, (10_000,), 16_652_000),
        Count("paper", {"features": 821}, (821,), 1_956_421),
        Count("small", {"features": 821}, (821,), 110_165),
    ),
    example={"features": 20},
    replaced=(
        Replacement(
            paper="the outputs are rectified",
            here="softplus, which is the rectifier with a round corner",
            why="the first values of a study are drawn around 0: an output that begins below it has no gradient in any "
            "cell, and would stay there",
        ),
        Replacement(
            paper="squared errors of the values above 0, divided by the number of all genes",
            here="their mean",
            why="then the clipping norm does not depend on how many values of a cell are zero",
        ),
        Replacement(
            paper="genes that are seldom seen in the cohort are left out",
            here="the genes that the study names",
            why="how often a gene is seen is read from donors",
        ),
        Replacement(
            paper="the output stands for what was seen too",
            here="fill_in keeps what was seen",
            why="an autoencoder gives back a value less exactly than it was measured; this is not for privacy",
        ),
    ),
)
