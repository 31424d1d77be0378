"""A convolutional network over the descriptors of a drug and of a protein, to predict whether they interact.

The descriptors stand in one row, through which three one-dimensional convolutions slide. Their order has no meaning, so
that a convolution joins neighbours by accident; no code was published, and the sizes are ours.

A "patient" is the drug of a company, with all its pairs: epsilon protects that drug and what it binds, and no person.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs
from models.layers.rectifier import ConvolutionBeforeRectifier

_POOL: Final = 2


class DtiCnnOptions(Options):
    """The options of ``dti-cnn``.

    Attributes:
        filters: of each convolution, first to last; each is followed by the largest of two neighbours.
        kernel: descriptors that a filter sees; odd, so that the row keeps its length.
        hidden: units of the layer over all filters.
        dropout: before it, in training.
    """

    filters: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(
        default=(16, 32, 64), min_length=1, max_length=6
    )
    kernel: int = Field(default=7, ge=1, le=101)
    hidden: Units = 128
    dropout: float = Field(default=0.0, ge=0, lt=1)


class DtiCnn(nn.Module):
    """Convolutions over one row of descriptors, and a perceptron."""

    draws_randomly = True

    def __init__(self, options: DtiCnnOptions, descriptors: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            ConvolutionBeforeRectifier(before, after, options.kernel, padding=options.kernel // 2)
            for before, after in pairwise((1, *options.filters))
        )
        left = descriptors // _POOL ** len(options.filters)
        self.layers = nn.Sequential(
            nn.Dropout(options.dropout),
            nn.Linear(left * options.filters[-1], options.hidden),
            nn.ELU(),
            nn.Linear(options.hidden, count_outputs(outputs)),
        )
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``compound`` and ``protein``, (records, their descriptors); (records, *outputs)."""
        row = torch.cat([inputs["compound"], inputs["protein"]], dim=1).unsqueeze(1)  # (records, 1, descriptors)
        for convolution in self.convolutions:
            row = nn.functional.max_pool1d(nn.functional.elu(convolution(row)), _POOL)
        return shape_outputs(self.layers(row.flatten(1)), self._outputs)


def build(options: DtiCnnOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DtiCnn:
    """Build the network for the descriptors of a drug and of a protein.

    Raises:
        ModelError: the kernel is even, or there are fewer descriptors than the convolutions halve.
    """
    descriptors, least = sizes["compound_descriptors"] + sizes["protein_descriptors"], _POOL ** len(options.filters)
    if options.kernel % 2 == 0:
        raise ModelError(f"model.options.kernel: expected an odd number, got {options.kernel}")
    if descriptors < least:
        raise ModelError(
            f"dti-cnn halves the row {len(options.filters)} times and needs at least {least} descriptors; the data "
            f"have {descriptors}"
        )
    return DtiCnn(options, descriptors, outputs)


# 881 substructures, and the frequencies of 400 pairs of amino acids
_PAPER: Final = {"compound_descriptors": 881, "protein_descriptors": 400}
_EXAMPLE: Final = {"compound_descriptors": 14, "protein_descriptors": 10}

MODEL: Final = ModelEntry(
    title="Convolutional network of drug-protein interactions",
    domain="drugs",
    rate=1.0,
    options=DtiCnnOptions,
    build=build,
    tasks=("binary", "multiclass"),
    inputs=(
        Input("compound", "number", ("compound_descriptors",), "descriptors of the drug"),
        Input("protein", "number", ("protein_descriptors",), "descriptors of the protein"),
    ),
    citation="Hu, Xia, Su, Chen, Wang and Li 2019, A convolutional neural network system to discriminate drug-target "
    "interactions, IEEE/ACM Transactions on Computational Biology and Bioinformatics",
    presets={"paper": DtiCnnOptions(), "small": DtiCnnOptions(filters=(4, 6), kernel=5, hidden=8)},
    counts=(Count("paper", _PAPER, (), 1_329_121), Count("small", _EXAMPLE, (), 455)),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="pairs without an interaction are chosen far from all known interactions",
            here="those that the study's files have",
            why="such a choice reads every site's interactions, and an easy choice makes every figure look better",
        ),
        Replacement(
            paper="pairs of a drug and a protein are drawn one by one",
            here="all pairs of a drug are its records, and are clipped together",
            why="a drug is in many pairs: protecting a pair would not protect the drug",
        ),
    ),
)
