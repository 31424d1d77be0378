"""SPEID: whether an enhancer and a promoter interact, from the letters of both.

A convolution with a pooling reads each of the two; what they find stands one behind the other, and a long short-term
memory reads it in both directions.

A patient is whose contacts were measured: all pairs of a person are their records, and are clipped together. The study
beside this runs on generated pairs, which are nobody's.

**Which pairs are test pairs decides the figure.** An enhancer that is in training pairs, with a promoter that is in
others, is recognised without any sign of contact: pairs must be divided by chromosome, not drawn.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.heads import count_outputs, shape_outputs
from models.layers.image_blocks import count_groups
from models.layers.recurrent import LongShortTermMemory, read_both_ways
from models.layers.sequence_blocks import LETTERS, Filters, Width, count_pooled_places, list_pooled_convolution

_DIRECTIONS: Final = 2
Rate = Annotated[float, Field(ge=0, lt=1)]


class SpeidOptions(Options):
    """The options of ``speid``.

    Attributes:
        filters: of the convolution over each sequence.
        kernel: bases that a filter sees.
        pool: places of which the largest value is kept.
        memory: units of the memory, in each direction.
        summary: what the hidden layer reads: all steps of the memory, or the largest value of each unit.
        hidden: units of the hidden layer.
        dropout: of what the convolutions found, of the memory's steps, and of the hidden layer, in training.
    """

    filters: Filters = 200
    kernel: Width = 40
    pool: Width = 20
    memory: int = Field(default=50, ge=1, le=4096)
    summary: Literal["steps", "largest"] = "steps"
    hidden: Units = 800
    dropout: tuple[Rate, Rate, Rate] = (0.25, 0.5, 0.5)


class Speid(nn.Module):
    """A convolution for each sequence, a memory in both directions, a hidden layer and a linear layer.

    Raises:
        ModelError: a sequence is shorter than a filter and a pooling need.
    """

    draws_randomly = True

    def __init__(self, options: SpeidOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        steps, towers = 0, []
        for axis in ("enhancer_bases", "promoter_bases"):
            steps += count_pooled_places("speid", sizes[axis], (options.kernel,), (options.pool,))
            towers.append(
                nn.Sequential(*list_pooled_convolution(LETTERS, options.filters, options.kernel, options.pool))
            )
        self.enhancer, self.promoter = towers
        self.norm = nn.GroupNorm(count_groups(options.filters), options.filters)
        self.onward = LongShortTermMemory(options.filters, options.memory)
        self.back = LongShortTermMemory(options.filters, options.memory)
        units = _DIRECTIONS * options.memory
        self.memory_norm = nn.LayerNorm(units)
        read = units * steps if options.summary == "steps" else units
        self.hidden = nn.Sequential(nn.Linear(read, options.hidden), nn.LayerNorm(options.hidden), nn.ReLU())
        self.head = nn.Linear(options.hidden, count_outputs(outputs))
        self.drop_found, self.drop_steps, self.drop_hidden = (nn.Dropout(rate) for rate in options.dropout)
        self._summary, self._outputs = options.summary, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``enhancer`` and ``promoter``, (records, 4, bases) each; (records, *outputs)."""
        found = torch.cat([self.enhancer(inputs["enhancer"]), self.promoter(inputs["promoter"])], dim=2)
        series = self.drop_found(self.norm(found)).movedim(1, 2)  # (records, steps, filters)
        steps = self.drop_steps(self.memory_norm(read_both_ways(self.onward, self.back, series)))
        read = steps.flatten(1) if self._summary == "steps" else steps.amax(1)
        return shape_outputs(self.head(self.drop_hidden(self.hidden(read))), self._outputs)


def build(options: SpeidOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Speid:
    """Build the network for sequences of ``enhancer_bases`` and ``promoter_bases`` letters."""
    return Speid(options, sizes, outputs)


_PAPER: Final = {"enhancer_bases": 3000, "promoter_bases": 2000}
_EXAMPLE: Final = {"enhancer_bases": 30, "promoter_bases": 24}

MODEL: Final = ModelEntry(
    title="SPEID: contact of an enhancer and a promoter",
    domain="genomics",
    rate=0.5,
    options=SpeidOptions,
    build=build,
    tasks=("binary", "multilabel", "regression"),
    inputs=(
        Input("enhancer", "number", (LETTERS, "enhancer_bases"), "one-hot letters of the enhancer"),
        Input("promoter", "number", (LETTERS, "promoter_bases"), "one-hot letters of the promoter"),
    ),
    citation="Singh, Yang, Póczos and Ma 2019, Predicting enhancer-promoter interaction from genomic sequence with "
    "deep neural networks, Quantitative Biology 7:122-137",
    repository="https://github.com/ma-compbio/SPEID",
    presets={
        "paper": SpeidOptions(),
        "small": SpeidOptions(
            filters=8, kernel=6, pool=6, memory=6, summary="largest", hidden=8, dropout=(0.0, 0.0, 0.0)
        ),
    },
    # convolutions 64,400, norms 2,200, memory 100,400 (one bias for each gate), hidden layer 19,680,800, head 801
    counts=(
        Count("paper", _PAPER, (), 19_848_601),
        Count("small", _EXAMPLE, (), 1289),
    ),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="batch normalisation of filters, of the memory and of hidden units",
            here="group and layer normalisation of each record, with as many parameters",
            why="a batch's mean mixes records, so no patient's share can be bounded",
        ),
        Replacement(
            paper="batch normalisation of the one output",
            here="none",
            why="one number, normalised within its record, is always the same",
        ),
        Replacement(
            paper="positive pairs are copied with shifted windows until both labels are as frequent",
            here="the task's `positive_weight`",
            why="copies of a pair as records of their own would count it many times",
        ),
        Replacement(
            paper="the squared weights in the loss",
            here="no penalty, or training.weight_decay",
            why="a penalty belongs to no patient, and is no part of their gradient",
        ),
    ),
)
