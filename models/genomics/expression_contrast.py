"""Which of two genes is more expressed? One tower reads the letters of both, and their scores are compared.

::

    tower    g = convolutions, the largest of neighbouring places after every block, hidden layers, a score without bias
    logit    g(first) - g(second)

So exchanging the genes turns the logit's sign, and a label with it: **both orders of a pair are one record**, with one
loss. A bias of the score would cancel, so there is none. The tower is that of a public re-implementation of the paper's
other model; the authors' code was not at hand. The comparison as a difference of scores is ours.

**A patient is the person whose expression was measured, and all their pairs of genes are their records: epsilon
protects all that was measured of a person.** Where a pair counts as a patient, each gene must be in one pair only.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs

Filters = Annotated[int, Field(ge=1, le=1024)]


class ExpressionContrastOptions(Options):
    """The options of ``expression-contrast``.

    Attributes:
        blocks: of each block, the filters of its convolutions.
        kernel: places that a filter sees; what is beyond an end is 0, except for the first convolution.
        pool: places of which the largest value is kept after a block.
        last: whether the last block is pooled as the others, or to each filter's ``largest`` value or ``mean``.
        hidden: units of the layers before the score.
        dropout: the part of the values that is set to 0 in training, after a block and after the first hidden layer.
    """

    blocks: tuple[Annotated[tuple[Filters, ...], Field(min_length=1, max_length=4)], ...] = Field(
        default=((64, 64), (128, 128), (64, 64)), min_length=1, max_length=6
    )
    kernel: int = Field(default=8, ge=1, le=1000)
    pool: int = Field(default=8, ge=1, le=1000)
    last: Literal["pooled", "largest", "mean"] = "pooled"
    hidden: tuple[Units, ...] = Field(default=(128, 64), max_length=4)
    dropout: float = Field(default=0.25, ge=0, lt=1)


class Block(nn.Module):
    """Convolutions over places, for several sequences of a record at once.

    Args:
        widths: channels before and after each convolution.
        kernel: places that a filter sees.
        padded: whether the first convolution sees zeros beyond the ends, as the others do.
    """

    def __init__(self, widths: tuple[int, ...], kernel: int, *, padded: bool) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(*ends, (1, kernel)) for ends in pairwise(widths))
        # an even kernel sees one place more after it than before it
        before = (kernel - 1) // 2
        self._ends = (before, kernel - 1 - before)
        self._padded = padded

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Filter ``values`` (records, channels, sequences, places)."""
        for place, convolution in enumerate(self.convolutions):
            padded = functional.pad(values, self._ends) if place or self._padded else values
            values = torch.relu(convolution(padded))
        return values


class ExpressionContrast(nn.Module):
    """A tower over both sequences of a pair, and the difference of its scores.

    Raises:
        ModelError: there are fewer letters than a filter sees.
    """

    draws_randomly = True

    def __init__(self, options: ExpressionContrastOptions, bases: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        if bases < options.kernel:
            raise ModelError(
                f"expression-contrast needs at least {options.kernel} letters, as its kernel; the data have {bases}"
            )
        channels = (4, *(block[-1] for block in options.blocks))
        self.blocks = nn.ModuleList(
            Block((before, *block), options.kernel, padded=place > 0)
            for place, (before, block) in enumerate(zip(channels, options.blocks, strict=False))
        )
        self.dropout = nn.Dropout(options.dropout)
        places = bases - options.kernel + 1
        for _ in options.blocks:
            places = -(-places // options.pool)
        widths = (channels[-1] * (places if options.last == "pooled" else 1), *options.hidden)
        self.hidden = nn.ModuleList(nn.Linear(*ends) for ends in pairwise(widths))
        self.score = nn.Linear(widths[-1], count_outputs(outputs), bias=False)
        self._pool, self._last, self._outputs = options.pool, options.last, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``first`` and ``second``, (records, 4, bases) each; (records, *outputs)."""
        scores = self._compute_scores(torch.stack([inputs["first"], inputs["second"]], dim=2))
        return shape_outputs(scores[:, 0] - scores[:, 1], self._outputs)

    def _compute_scores(self, values: torch.Tensor) -> torch.Tensor:
        """Score sequences, (records, 4, sequences, bases); (records, sequences, outputs)."""
        for place, block in enumerate(self.blocks):
            values = block(values)
            if place < len(self.blocks) - 1 or self._last == "pooled":
                values = functional.max_pool2d(values, (1, self._pool), ceil_mode=True)
            else:
                values = values.amax(3, keepdim=True) if self._last == "largest" else values.mean(3, keepdim=True)
            values = self.dropout(values)
        values = values.movedim(2, 1).flatten(2)  # (records, sequences, features)
        for place, layer in enumerate(self.hidden):
            values = torch.relu(layer(values))
            values = values if place else self.dropout(values)
        scores: torch.Tensor = self.score(values)
        return scores


def build(options: ExpressionContrastOptions, sizes: Sizes, outputs: tuple[int, ...]) -> ExpressionContrast:
    """Build the network for two sequences of ``bases`` one-hot letters."""
    return ExpressionContrast(options, sizes["bases"], outputs)


MODEL: Final = ModelEntry(
    title="Which of two genes is more expressed, from their letters",
    domain="genomics",
    rate=0.5,
    options=ExpressionContrastOptions,
    build=build,
    tasks=("binary", "regression"),
    inputs=(
        Input("first", "number", (4, "bases"), "one-hot letters around the first gene"),
        Input("second", "number", (4, "bases"), "one-hot letters around the second one"),
    ),
    citation="Washburn, Mejia-Guerra, Ramstein, Kremling, Valluru, Buckler and Wang 2019, Evolutionarily informed deep "
    "learning methods for predicting relative transcript abundance from DNA sequence, Proceedings of the National "
    "Academy of Sciences 116(12):5542-5549",
    presets={
        "paper": ExpressionContrastOptions(),
        "small": ExpressionContrastOptions(blocks=((16,), (16,)), pool=4, last="largest", hidden=(), dropout=0.0),
    },
    # a re-implementation of the paper's other model has the same tower with two outputs and their biases, that is 66
    # parameters more: 387,906 for the letters before and after a gene, 363,330 for one of both
    counts=(
        Count("paper", {"bases": 3_000}, (), 387_840),
        Count("paper", {"bases": 1_500}, (), 363_264),
        Count("small", {"bases": 80}, (), 2_608),
    ),
    example={"bases": 40},
    replaced=(
        Replacement(
            paper="a pair and its reverse could be two examples",
            here="one: the logit changes its sign with the order",
            why="a pair that stands there twice would count twice in its patient's gradient",
        ),
        Replacement(
            paper="in the re-implementation, classes made equally frequent by drawing from the larger one",
            here="a fixed public weight in the task's loss",
            why="a record that is drawn several times would count more than once",
        ),
        Replacement(
            paper="in the re-implementation, training stops when a validation loss does not fall for three epochs",
            here="a number of rounds that is fixed in advance, or an evaluation that is paid for",
            why="when training stops tells something of the patients it was stopped by",
        ),
    ),
)
