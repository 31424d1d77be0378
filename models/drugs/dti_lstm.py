"""Stacked long short-term memories that read a drug and then a protein, to predict whether they interact.

Both come as rows of the same length, and are the two steps of a sequence. The paper brings fingerprints and moments of
a protein's profile to a common length by a sparse analysis of principal components; how its network reads them is not
published, and the sizes are ours.

A "patient" is the drug of a company, with all its pairs: epsilon protects that drug and what it binds, and no person.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.recurrent import LongShortTermMemory


class DtiLstmOptions(Options):
    """The options of ``dti-lstm``.

    Attributes:
        width: memory cells of each layer.
        layers: how many.
        dropout: between layers and before the last one, in training.
    """

    width: int = Field(default=64, ge=1, le=4096)
    layers: int = Field(default=2, ge=1, le=8)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class DtiLstm(nn.Module):
    """Layers of memory over two steps, and a head on the state after the second one."""

    draws_randomly = True

    def __init__(self, options: DtiLstmOptions, numbers: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        widths = (numbers, *[options.width] * options.layers)
        self.memories = nn.ModuleList(LongShortTermMemory(before, after) for before, after in pairwise(widths))
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(options.width, count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``compound`` and ``protein``, (records, numbers) each; (records, *outputs)."""
        series = torch.stack([inputs["compound"], inputs["protein"]], dim=1)  # (records, 2, numbers)
        present = series.new_ones(series.shape[:2], dtype=torch.bool)
        for memory in self.memories:
            series = self.dropout(memory(series, present))
        return shape_outputs(self.head(series[:, -1]), self._outputs)


def build(options: DtiLstmOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DtiLstm:
    """Build the memories for rows of ``numbers``."""
    return DtiLstm(options, sizes["numbers"], outputs)


_EXAMPLE: Final = {"numbers": 12}

MODEL: Final = ModelEntry(
    title="Stacked LSTM of drug-protein interactions",
    domain="drugs",
    rate=4.0,
    options=DtiLstmOptions,
    build=build,
    tasks=("binary", "multiclass"),
    inputs=(
        Input("compound", "number", ("numbers",), "a public description of the drug"),
        Input("protein", "number", ("numbers",), "a public description of the protein, of the same length"),
    ),
    citation="Wang, You, Yang, Yi, Chen and Zheng 2020, A deep learning-based method for drug-target interaction "
    "prediction based on long short-term memory neural network, BMC Medical Informatics and Decision Making 20:49",
    presets={"paper": DtiLstmOptions(), "small": DtiLstmOptions(width=8, layers=1, dropout=0.0)},
    # a gate has one bias here, and two in torch, which would make 512 more
    counts=(Count("paper", {"numbers": 100}, (2,), 75_394), Count("small", _EXAMPLE, (), 681)),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="a sparse analysis of principal components of the pairs themselves",
            here="descriptions that are fitted on public compounds and proteins, or not at all",
            why="components of private pairs tell of them, and would have to be paid for",
        ),
        Replacement(
            paper="pairs of a drug and a protein are drawn one by one",
            here="all pairs of a drug are its records, and are clipped together",
            why="a drug is in many pairs: protecting a pair would not protect the drug",
        ),
    ),
)
