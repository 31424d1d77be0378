"""TFImpute: motifs in a sequence, opened or shut by the transcription factor and the cell, to tell binding.

::

    motifs      r = the largest of relu(convolution) in each window of places, for every motif
    gate        g = sigmoid(W [factor, cell] + b)      a number from 0 to 1 for each motif, the same at all places
    score       the largest of U (g r) + c over units  and over the sequence and its reverse complement

Factor and cell are vectors that are learned, so that a pair of them which was never measured has a gate too.

**A patient is the person, or the donor of the cells, in whom binding was measured, and all sites of all their assays
are their records: epsilon protects all that was measured of a donor.** Where a record counts as a patient, it protects
one site of one assay.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs


class TfimputeOptions(Options):
    """The options of ``tfimpute``.

    Attributes:
        embedding: numbers for each factor, and for each cell.
        motifs: filters of the convolution.
        kernel: letters that a motif sees.
        pool: places of which the largest value is kept.
        units: of which the largest is the score.
    """

    embedding: int = Field(default=50, ge=1, le=4096)
    motifs: Units = 2000
    kernel: int = Field(default=20, ge=1, le=1000)
    pool: int = Field(default=106, ge=1, le=10_000)
    units: Units = 2000


class Tfimpute(nn.Module):
    """Motifs over both strands, a gate, and the largest of some units.

    Raises:
        ModelError: there are fewer letters than a motif and a pooling need.
    """

    def __init__(self, options: TfimputeOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        windows = (sizes["bases"] - options.kernel + 1) // options.pool
        if windows < 1:
            raise ModelError(
                f"tfimpute needs at least {options.kernel + options.pool - 1} letters for a kernel of {options.kernel} "
                f"and a pool of {options.pool}; the data have {sizes['bases']}"
            )
        self.factor = nn.Embedding(sizes["factors"], options.embedding)
        self.cell = nn.Embedding(sizes["cells"], options.embedding)
        self.motifs = nn.Conv2d(4, options.motifs, (1, options.kernel))
        self.pool = nn.MaxPool2d((1, options.pool))
        self.gate = nn.Linear(2 * options.embedding, options.motifs)
        self.units = nn.Linear(windows * options.motifs, count_outputs(outputs) * options.units)
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``sequence`` (records, 4, bases), ``factor`` and ``cell`` (records,)."""
        strands = join_strands(inputs["sequence"])  # (records, 4, strands, bases)
        found = self.pool(torch.relu(self.motifs(strands)))  # (records, motifs, strands, windows)
        pair = torch.cat([self.factor(inputs["factor"]), self.cell(inputs["cell"])], dim=1)
        gated = found * torch.sigmoid(self.gate(pair))[:, :, None, None]
        units = self.units(gated.movedim(2, 1).flatten(2))  # (records, strands, outputs * units)
        scores = units.reshape(units.shape[0], 2, count_outputs(self._outputs), -1).amax((1, 3))
        return shape_outputs(scores, self._outputs)


def join_strands(sequence: torch.Tensor) -> torch.Tensor:
    """Return ``sequence``, (records, 4, bases) of A, C, G and T, and its reverse complement; (records, 4, 2, bases)."""
    return torch.stack([sequence, sequence.flip(1, 2)], dim=2)


def build(options: TfimputeOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Tfimpute:
    """Build the network for ``bases`` letters, ``factors`` and ``cells``."""
    return Tfimpute(options, sizes, outputs)


_PAPER: Final = {"bases": 300, "factors": 172, "cells": 91}
_SMALL: Final = {"bases": 40, "factors": 8, "cells": 5}

MODEL: Final = ModelEntry(
    title="TFImpute: binding of a factor in a cell where it was not measured",
    domain="genomics",
    rate=0.5,
    options=TfimputeOptions,
    build=build,
    tasks=("binary", "multilabel", "regression"),
    inputs=(
        Input("sequence", "number", (4, "bases"), "one-hot letters A, C, G, T"),
        Input("factor", "id", (), "the transcription factor", "factors"),
        Input("cell", "id", (), "the kind of cell", "cells"),
    ),
    citation="Qin and Feng 2017, Imputation for transcription factor binding predictions based on deep learning, PLoS "
    "Computational Biology 13(2):e1005403",
    repository="https://github.com/qinqian/TFImpute",
    presets={
        "paper": TfimputeOptions(),
        "small": TfimputeOptions(embedding=4, motifs=16, kernel=8, pool=11, units=16),
    },
    # the authors' script; with 1,000 units, as their description says, there are 4,378,150
    counts=(
        Count("paper", _PAPER, (), 8_379_150),
        Count("small", _SMALL, (), 1_508),
    ),
    example=_SMALL,
    replaced=(
        Replacement(
            paper="a sequence and its reverse complement are two rows of a batch",
            here="both strands of a record, inside the model",
            why="a record that stands there twice would count twice in its patient's gradient",
        ),
        Replacement(
            paper="positive sites count by how rare they are in each assay",
            here="a fixed public weight in the task's loss",
            why="how rare they are is counted in the patients",
        ),
        Replacement(
            paper="a threshold of 4 by which every motif's rectifier begins open",
            here="the first values of the catalogue",
            why="this is not for privacy: with few private steps, motifs that are open everywhere stay so",
        ),
    ),
)
