"""DeepCpG: methylation of a site of DNA in single cells, from its letters and from the states of sites nearby.

========  ==============================================================================================
``form``  what is read
========  ==============================================================================================
dna       letters round the site: convolutions with poolings, a hidden layer
cpg       for each cell the states of sites nearby and how far away they are: a hidden layer that all cells
          share, then gated units over the cells, in both directions
joint     both, side by side, and two hidden layers
========  ==============================================================================================

A patient is whose cells they are: the unit is the donor, or the cell where each is of another donor, and all sites of
their genome are their records. In the study on two public cells a "patient" is a stretch of a chromosome in a cell, so
that epsilon protects that stretch's states and no donor.

Rules:

* of a neighbour that was not seen, the state is the number 0.5 and the distance 1, the largest;
* cells are in a public order, such as that of their types. Each has an output if the task asks for as many.
"""

from collections.abc import Mapping
from typing import Final, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.dense import list_hidden_layers
from models.layers.heads import count_outputs, shape_outputs
from models.layers.recurrent import GatedUnits, read_both_ways, take_last_of_both
from models.layers.sequence_blocks import LETTERS, Filters, Width, count_pooled_places, list_pooled_convolution

_DIRECTIONS: Final = 2
Form = Literal["dna", "cpg", "joint"]


class DeepCpgOptions(Options):
    """The options of ``deepcpg``.

    Attributes:
        form: what is read.
        filters: of each convolution over the letters.
        kernels: bases, or pooled places, that a filter of each convolution sees.
        pools: places of which the largest value is kept, after each convolution.
        dna_units: of the hidden layer over the letters.
        neighbour_units: of the layer over a cell's neighbours.
        cell_units: gated units over the cells, in each direction.
        joint: units of the hidden layers over both, for the form ``joint``.
        dropout: of what is read, in training.
    """

    form: Form = "joint"
    filters: tuple[Filters, ...] = Field(default=(128, 256), min_length=1, max_length=4)
    kernels: tuple[Width, ...] = (11, 3)
    pools: tuple[Width, ...] = (4, 2)
    dna_units: Units = 128
    neighbour_units: int = Field(default=256, ge=1, le=4096)
    cell_units: int = Field(default=256, ge=1, le=4096)
    joint: tuple[Units, ...] = Field(default=(512, 512), max_length=4)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if not len(self.filters) == len(self.kernels) == len(self.pools):
            raise ValueError("filters, kernels and pools have one number for each convolution")
        return self


class CellReader(nn.Module):
    """A layer over each cell's neighbours, and gated units over the cells in both directions."""

    def __init__(self, neighbours: int, options: DeepCpgOptions) -> None:
        super().__init__()
        self.neighbours = nn.Linear(2 * neighbours, options.neighbour_units)
        self.onward = GatedUnits(options.neighbour_units, options.cell_units)
        self.back = GatedUnits(options.neighbour_units, options.cell_units)

    def forward(self, states: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
        """Return (records, 2 * cell_units) of (records, cells, neighbours) each."""
        cells = torch.relu(self.neighbours(torch.cat([states, distances], dim=2)))
        return take_last_of_both(read_both_ways(self.onward, self.back, cells))


class DeepCpg(nn.Module):
    """The readers of the form, hidden layers for ``joint``, and a linear layer."""

    draws_randomly = True

    def __init__(self, options: DeepCpgOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        width = 0
        if options.form != "cpg":
            places = count_pooled_places("deepcpg", sizes["bases"], options.kernels, options.pools)
            layers, before = list[nn.Module](), LETTERS
            for filters, kernel, pool in zip(options.filters, options.kernels, options.pools, strict=True):
                layers += list_pooled_convolution(before, filters, kernel, pool)
                before = filters
            self.dna = nn.Sequential(
                *layers, nn.Flatten(), nn.Linear(before * places, options.dna_units), nn.ReLU()
            )
            width += options.dna_units
        if options.form != "dna":
            self.cpg = CellReader(sizes["neighbours"], options)
            width += _DIRECTIONS * options.cell_units
        widths = (width, *(options.joint if options.form == "joint" else ()))
        self.joint = nn.Sequential(nn.Dropout(options.dropout), *list_hidden_layers(widths, options.dropout))
        self.head = nn.Linear(widths[-1], count_outputs(outputs))
        self._form, self._outputs = options.form, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of what the form reads; (records, *outputs)."""
        found = []
        if self._form != "cpg":
            found.append(self.dna(inputs["sequence"]))
        if self._form != "dna":
            found.append(self.cpg(inputs["states"], inputs["distances"]))
        return shape_outputs(self.head(self.joint(torch.cat(found, dim=1))), self._outputs)


def build(options: DeepCpgOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepCpg:
    """Build the readers of the form for ``bases`` letters, and so many ``cells`` with ``neighbours`` each."""
    return DeepCpg(options, sizes, outputs)


_PAPER: Final = {"bases": 1001, "cells": 18, "neighbours": 50}
_EXAMPLE: Final = {"bases": 40, "cells": 3, "neighbours": 6}

MODEL: Final = ModelEntry(
    title="DeepCpG: DNA methylation in single cells",
    domain="genomics",
    rate=2.0,
    options=DeepCpgOptions,
    build=build,
    tasks=("multilabel", "binary", "regression"),
    inputs=(
        Input("sequence", "number", (LETTERS, "bases"), "one-hot letters round the site"),
        Input("states", "number", ("cells", "neighbours"), "of the sites nearby in each cell: methylated 1, not 0"),
        Input("distances", "number", ("cells", "neighbours"), "to these sites, as a part of the largest"),
    ),
    citation="Angermueller, Lee, Reik and Stegle 2017, DeepCpG: accurate prediction of single-cell DNA methylation "
    "states using deep learning, Genome Biology 18:67",
    repository="https://github.com/PMBio/deepcpg",
    presets={
        "paper": DeepCpgOptions(),
        "small": DeepCpgOptions(
            filters=(8,), kernels=(5,), pools=(6,), dna_units=8, neighbour_units=8, cell_units=6, joint=(16,)
        ),
    },
    # letters 4,102,144, cells 813,824 (one bias for each gate, as in Keras), joint layers 590,848, head 9,234
    counts=(
        Count("paper", _PAPER, (18,), 5_516_050),
        Count("small", _EXAMPLE, (3,), 1_591),
    ),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="the state of a neighbour that was not seen is drawn by its cell's mean",
            here="0.5",
            why="a cell's mean is read from its donor",
        ),
        Replacement(
            paper="labels that were not seen count 0 in the loss, which is divided by those that were seen",
            here="records of sites that were seen",
            why="a number that depends on the batch would mix records",
        ),
        Replacement(
            paper="both readers are trained alone first, and frozen while the joint layers are",
            here="all layers together, or stages that name layers",
            why="three trainings spend three parts of the budget",
        ),
        Replacement(
            paper="the squared and absolute weights in the loss",
            here="no penalty, or training.weight_decay",
            why="a penalty belongs to no patient, and is no part of their gradient",
        ),
        Replacement(
            paper="training stops by the loss on validation sites",
            here="a number of rounds that is fixed in advance, or an evaluation that is paid for",
            why="when training stops tells something of the patients it was stopped by",
        ),
    ),
)
