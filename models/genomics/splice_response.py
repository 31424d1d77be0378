"""A convolution over the junctions of an exon, to tell how a compound that modifies splicing changes the exon's use.

::

    sequence    the letters round the four junctions of an exon and its neighbours, side by side: 4 x 100
    two times   convolution, norm, relu, the largest of two neighbours
    hidden      dropout(relu(norm(W h + b)))
    outputs     U h + c: more inclusion, less inclusion, no change

Letters are those of a public genome. What is private is how exons are used: it was measured in the RNA of people, or in
cell lines from them. **A patient is the person whose RNA was measured, and all their exons are their records: epsilon
protects all that was measured of a person.** Where a record counts as a patient, it protects one exon of one sample.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.heads import count_outputs, shape_outputs
from models.layers.sequence_blocks import LETTERS, Norm, Width, count_pooled_places, list_pooled_convolution

_POOL: Final = 2


class SpliceResponseOptions(Options):
    """The options of ``splice-response``.

    Attributes:
        filters: of each convolution.
        kernels: letters that a filter of the first sees, and places of the first that one of the second sees.
        hidden: units of the layer before the outputs.
        norm: ``group`` normalises filters and units within the record.
        dropout: the part of the hidden units that is set to 0 in training.
    """

    filters: int = Field(default=50, ge=1, le=1024)
    kernels: tuple[Width, Width] = (5, 2)
    hidden: Units = 500
    norm: Norm = "group"
    dropout: float = Field(default=0.9, ge=0, lt=1)


class SpliceResponse(nn.Module):
    """Two convolutions and a hidden layer.

    Raises:
        ModelError: there are fewer letters than two convolutions need.
    """

    draws_randomly = True

    def __init__(self, options: SpliceResponseOptions, bases: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        left = count_pooled_places("splice-response", bases, options.kernels, (_POOL, _POOL))
        filters = options.filters
        layers: list[nn.Module] = []
        for before, kernel in zip((LETTERS, filters), options.kernels, strict=True):
            layers += list_pooled_convolution(before, filters, kernel, _POOL, options.norm)
        layers += [nn.Flatten(), nn.Linear(filters * left, options.hidden)]
        layers += [nn.LayerNorm(options.hidden)] if options.norm == "group" else []
        layers += [nn.ReLU(), nn.Dropout(options.dropout), nn.Linear(options.hidden, count_outputs(outputs))]
        self.layers = nn.Sequential(*layers)
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``sequence`` (records, 4, bases); (records, *outputs)."""
        return shape_outputs(self.layers(inputs["sequence"]), self._outputs)


def build(options: SpliceResponseOptions, sizes: Sizes, outputs: tuple[int, ...]) -> SpliceResponse:
    """Build the network for ``bases`` one-hot letters."""
    return SpliceResponse(options, sizes["bases"], outputs)


MODEL: Final = ModelEntry(
    title="Response of an exon's splicing to a compound",
    domain="genomics",
    rate=0.5,
    options=SpliceResponseOptions,
    build=build,
    tasks=("multiclass", "multilabel", "binary", "regression"),
    inputs=(Input("sequence", "number", (LETTERS, "bases"), "one-hot letters of all junctions, side by side"),),
    citation="Gao et al. 2021, A deep learning approach to identify gene targets of a therapeutic for human splicing "
    "disorders, Nature Communications 12:3332",
    repository="https://github.com/talkowski-lab/SMC_CNN_Model",
    presets={
        "paper": SpliceResponseOptions(),
        "small": SpliceResponseOptions(filters=8, hidden=16, norm="none", dropout=0.0),
    },
    # four junctions of 25 letters of the exon and 75 of the intron each; the authors' files do not say whether they are
    # padded, which would be 50,000 parameters more. 1,200 are the norms'
    counts=(
        Count("paper", {"bases": 400}, (3,), 2_459_303),
        Count("small", {"bases": 60}, (3,), 2_035),
    ),
    example={"bases": 24},
    replaced=(
        Replacement(
            paper="batch normalisation",
            here="group normalisation of filters and layer normalisation of units",
            why="batch normalisation mixes patients: each would see the means of the others",
        ),
        Replacement(
            paper="a class of changes by a false discovery rate over all exons of the cohort, 700 of a class",
            here="public limits of the change itself, and all records",
            why="the rate of one exon depends on all others, and so on their patients",
        ),
        Replacement(
            paper="rows of weights no longer than 3, and a penalty on their sizes",
            here="neither",
            why="this is not for privacy: gradients are clipped, and few steps do not make weights long",
        ),
        Replacement(
            paper="the epoch with the best validation AUROC",
            here="a number of rounds that is fixed in advance, or an evaluation that is paid for",
            why="when training stops tells something of the patients it was stopped by",
        ),
    ),
)
