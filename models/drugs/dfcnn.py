"""DFCNN: a densely connected network that scores compounds against a protein, as for the first screens of SARS-CoV-2.

Every layer reads what all layers before it gave, and the embeddings of compound and protein too. The number of layers
and their width are ours: the authors' weights, which would tell them, are not published.

A "patient" is the compound of a company, with all its pairs: epsilon protects that compound and what it binds, and no
person; the paper's only patients are those whose virus was sequenced.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs


class DfcnnOptions(Options):
    """The options of ``dfcnn``.

    Attributes:
        width: units of each layer.
        layers: how many.
        dropout: after each of them, in training.
    """

    width: int = Field(default=100, ge=1, le=4096)
    layers: int = Field(default=6, ge=1, le=32)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class Dfcnn(nn.Module):
    """Layers that each read all before them, and a head that reads everything."""

    draws_randomly = True

    def __init__(self, options: DfcnnOptions, numbers: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(numbers + place * options.width, options.width) for place in range(options.layers)
        )
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(numbers + options.layers * options.width, count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``compound`` and ``protein``, (records, their numbers); (records, *outputs)."""
        known = torch.cat([inputs["compound"], inputs["protein"]], dim=1)
        for layer in self.layers:
            known = torch.cat([known, self.dropout(nn.functional.elu(layer(known)))], dim=1)
        return shape_outputs(self.head(known), self._outputs)


def build(options: DfcnnOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Dfcnn:
    """Build the layers for embeddings of a compound and of a protein."""
    return Dfcnn(options, sizes["compound_numbers"] + sizes["protein_numbers"], outputs)


_PAPER: Final = {"compound_numbers": 300, "protein_numbers": 300}
_EXAMPLE: Final = {"compound_numbers": 12, "protein_numbers": 10}

MODEL: Final = ModelEntry(
    title="DFCNN: densely connected network for virtual screening",
    domain="drugs",
    rate=0.3,
    options=DfcnnOptions,
    build=build,
    tasks=("binary", "multiclass", "regression"),
    inputs=(
        Input("compound", "number", ("compound_numbers",), "a public embedding of the compound"),
        Input("protein", "number", ("protein_numbers",), "a public embedding of the protein, or of its pocket"),
    ),
    citation="Zhang, Saravanan, Yang, Hossain, Li, Ren, Pan and Wei 2020, Deep learning based drug screening for novel "
    "coronavirus 2019-nCov, Interdisciplinary Sciences: Computational Life Sciences 12:368-376",
    repository="https://github.com/haiping1010/IVS2Vec",
    presets={"paper": DfcnnOptions(), "small": DfcnnOptions(width=8, layers=3, dropout=0.0)},
    counts=(Count("paper", _PAPER, (), 511_801), Count("small", _EXAMPLE, (), 791)),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="batch normalisation",
            here="no normalisation, and an activation that is smooth",
            why="batch normalisation mixes records; the direct way from the inputs to every layer makes up for it",
        ),
        Replacement(
            paper="the table of all candidates is scaled by its own mean and deviation",
            here="scaled by the public ranges of the data contract",
            why="the score of a compound would depend on the other compounds",
        ),
        Replacement(
            paper="pairs of a compound and a protein are drawn one by one",
            here="all pairs of a compound are its records, and are clipped together",
            why="a compound is in many pairs: protecting a pair would not protect the compound",
        ),
    ),
)
