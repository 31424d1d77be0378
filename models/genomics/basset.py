"""Basset: convolutions over one-hot letters of DNA, to tell in which cells a stretch of the genome is accessible.

A patient is who gave the cells: all windows of a person are their records, and are clipped together. In the study on
public windows of one cell line a "patient" is a window, so that epsilon protects a window and no person.

The filters of the first layer are motifs. :meth:`Basset.count_motifs` counts the letters of the windows that a filter
answers to most, and `consilium-site explain` shows what the score gains with every other letter at every place.
"""

from collections.abc import Mapping
from typing import Final, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.sequence_blocks import (
    LETTERS,
    Filters,
    Norm,
    Pooling,
    Width,
    count_pooled_places,
    list_pooled_convolution,
)

_ANSWERED: Final = 0.5  # of a filter's largest value: from there on a window belongs to its motif


class BassetOptions(Options):
    """The options of ``basset``.

    Attributes:
        filters: of each convolution.
        kernels: bases, or pooled places, that a filter of each convolution sees.
        pools: places that a pooling makes one of, after each convolution.
        pooling: ``max`` keeps the largest value, as in the paper, and says whether a motif is there; ``sum`` adds them
            up, and says how often.
        hidden: units of each hidden layer.
        norm: after every layer but the last; hidden units are one group.
        dropout: after each hidden layer, in training.
    """

    filters: tuple[Filters, ...] = Field(default=(300, 200, 200), min_length=1, max_length=6)
    kernels: tuple[Width, ...] = (19, 11, 7)
    pools: tuple[Width, ...] = (3, 4, 4)
    pooling: Pooling = "max"
    hidden: tuple[Filters, ...] = Field(default=(1000, 1000), max_length=4)
    norm: Norm = "group"
    dropout: float = Field(default=0.3, ge=0, lt=1)

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if not len(self.filters) == len(self.kernels) == len(self.pools):
            raise ValueError("filters, kernels and pools have one number for each convolution")
        return self


class Basset(nn.Module):
    """Convolutions with poolings, hidden layers and a linear layer.

    Raises:
        ModelError: the sequences are too short for the convolutions.
    """

    draws_randomly = True

    def __init__(self, options: BassetOptions, bases: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        places = count_pooled_places("basset", bases, options.kernels, options.pools)
        layers: list[nn.Module] = []
        before = LETTERS
        for filters, kernel, pool in zip(options.filters, options.kernels, options.pools, strict=True):
            layers += list_pooled_convolution(before, filters, kernel, pool, options.norm, options.pooling)
            before = filters
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        layers, before = [], before * places
        for units in options.hidden:
            norms = [nn.GroupNorm(1, units)] if options.norm == "group" else []
            layers += [nn.Linear(before, units), *norms, nn.ReLU(), nn.Dropout(options.dropout)]
            before = units
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(before, count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``sequence`` (records, 4, bases); (records, *outputs)."""
        return shape_outputs(self.head(self.hidden(self.convolutions(inputs["sequence"]))), self._outputs)

    @torch.no_grad()
    def count_motifs(self, sequences: torch.Tensor) -> torch.Tensor:
        """Count the letters at each place of the windows that each filter of the first layer answers to.

        These are the windows of ``sequences`` (records, 4, bases) with more than half of the filter's largest value,
        as in the authors' program; a filter that is nowhere above 0 has none. The counts, (filters, 4, kernel), are of
        these records: where they are patients', they belong to the site.
        """
        first = self.convolutions[0]
        assert isinstance(first, nn.Conv1d)
        answers = first(sequences)  # (records, filters, windows)
        largest = answers.amax((0, 2))  # (filters,)
        chosen = (answers > _ANSWERED * largest[:, None]) & (largest[:, None] > 0)
        windows = sequences.unfold(2, first.kernel_size[0], 1)  # (records, 4, windows, kernel)
        return torch.einsum("rfw,rlwk->flk", chosen.to(sequences), windows)


def build(options: BassetOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Basset:
    """Build the network for sequences of ``bases`` letters."""
    return Basset(options, sizes["bases"], outputs)


MODEL: Final = ModelEntry(
    title="Basset: DNA to accessible chromatin",
    domain="genomics",
    rate=3.0,
    options=BassetOptions,
    build=build,
    tasks=("multilabel", "binary", "regression"),
    inputs=(Input("sequence", "number", (LETTERS, "bases"), "one-hot letters of DNA"),),
    citation="Kelley, Snoek and Rinn 2016, Basset: learning the regulatory code of the accessible genome with deep "
    "convolutional neural networks, Genome Research 26(7):990-999",
    repository="https://github.com/davek44/Basset",
    presets={
        "paper": BassetOptions(),
        "small": BassetOptions(
            filters=(8, 8), kernels=(5, 3), pools=(3, 3), hidden=(16,), norm="none", dropout=0.0
        ),
    },
    # convolutions 963,500, hidden layers 3,002,000, norms 5,400, head 164,164
    counts=(
        Count("paper", {"bases": 600}, (164,), 4_135_064),
        Count("paper", {"bases": 600}, (), 3_971_901),
        Count("small", {"bases": 60}, (3,), 1_075),
    ),
    example={"bases": 60},
    replaced=(
        Replacement(
            paper="batch normalisation",
            here="group normalisation of each record, with as many parameters",
            why="a batch's mean mixes records, so no patient's share can be bounded",
        ),
        Replacement(
            paper="every second epoch reads the other strand",
            here="the augmentation `reverse-complement` of the terms",
            why="both strands of a window are views of one record, and are clipped together; as two records they would "
            "count twice",
        ),
        Replacement(
            paper="the weights of a unit are cut to length 7",
            here="no bound",
            why="steps of a clipped gradient are short already",
        ),
        Replacement(
            paper="training stops by the loss on validation windows",
            here="a number of rounds that is fixed in advance, or an evaluation that is paid for",
            why="when training stops tells something of the patients it was stopped by",
        ),
    ),
)
