"""CNNC: a convolution over the joint histogram of two genes in many cells, to tell whether one acts on the other.

The histogram has a row for each bin of one gene's expression and a column for each bin of the other's; of each share h
of the cells the network sees (log10(h + 0.0001) + 4) / 4, which is 0 for none and 1 for all. A second histogram, of
other samples, may stand below the first. Blocks of two convolutions, of which the second one takes a row and a column
from each side, and a pooling are followed by one hidden layer.

A record is a pair of genes, and its histogram is made of the cells of all donors. Where ``patient`` names the
regulating gene, epsilon protects what is known of that gene and no donor. To protect donors, each needs histograms of
their own cells, and ``patient`` names the donor, whose pairs are averaged into one gradient.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.heads import count_outputs, shape_outputs
from models.layers.image_blocks import Activation, Norm, make_activation, make_block, require_sides

_NAME: Final = "cnnc"


class CnncOptions(Options):
    """The options of ``cnnc``.

    Attributes:
        filters: of both convolutions of each block, first to last.
        hidden: units of the hidden layer.
        norm: after each convolution.
        activation: after each convolution and after the hidden layer.
        block_dropout: the part of each block's maps that is set to 0 in training.
        dropout: the part of the hidden layer that is set to 0 in training.
    """

    filters: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(
        default=(32, 64, 128), min_length=1, max_length=6
    )
    hidden: Units = 512
    norm: Norm = "none"
    activation: Activation = "relu"
    block_dropout: float = Field(default=0.25, ge=0, lt=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)


class Cnnc(nn.Module):
    """Blocks of convolutions, a hidden layer and the outputs.

    Raises:
        ModelError: nothing of the histogram would be left after the last block.
    """

    draws_randomly = True

    def __init__(self, options: CnncOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        blocks = len(options.filters)
        least = next(side for side in range(1, 1 << 12) if _measure(side, blocks))
        require_sides(f"'{_NAME}' with {blocks} blocks", sizes, least, "write fewer filters, or more bins")
        layers: list[nn.Module] = []
        below = 1
        for filters in options.filters:
            layers += [
                make_block(below, filters, options.activation, options.norm),
                make_block(filters, filters, options.activation, options.norm, padding=0),
                nn.MaxPool2d(2),
                nn.Dropout(options.block_dropout),
            ]
            below = filters
        self.blocks = nn.Sequential(*layers)
        places = _measure(sizes["height"], blocks) * _measure(sizes["width"], blocks)
        self.layers = nn.Sequential(
            nn.Linear(below * places, options.hidden),
            make_activation(options.activation),
            nn.Dropout(options.dropout),
            nn.Linear(options.hidden, count_outputs(outputs)),
        )
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``histogram`` (records, 1, height, width); (records, *outputs)."""
        return shape_outputs(self.layers(self.blocks(inputs["histogram"]).flatten(1)), self._outputs)


def _measure(side: int, blocks: int) -> int:
    """Return what is left of a height or width after all blocks; 0 if nothing is."""
    for _ in range(blocks):
        side = max(0, side - 2) // 2
    return side


def build(options: CnncOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Cnnc:
    """Build the network for histograms of ``height`` by ``width`` bins."""
    return Cnnc(options, sizes, outputs)


_ONE: Final = {"height": 32, "width": 32}
_TWO: Final = {"height": 64, "width": 32}

MODEL: Final = ModelEntry(
    title="CNNC: convolutions over the joint histogram of two genes",
    domain="genomics",
    options=CnncOptions,
    build=build,
    tasks=("binary", "multiclass"),
    inputs=(
        Input(
            "histogram", "number", (1, "height", "width"), "logarithms of the shares of cells in each pair of bins"
        ),
    ),
    citation="Yuan and Bar-Joseph 2019, Deep learning for inferring gene relationships from single-cell expression "
    "data, Proceedings of the National Academy of Sciences 116(52):27151-27158",
    repository="https://github.com/xiaoyeye/CNNC",
    presets={
        "paper": CnncOptions(),
        "small": CnncOptions(
            filters=(4, 8), hidden=8, norm="group", activation="tanh", block_dropout=0.0, dropout=0.0
        ),
    },
    # one histogram, and two of them; acts or not, and neither, one way or the other
    counts=(
        Count("paper", _ONE, (), 549_601),
        Count("paper", _ONE, (3,), 550_627),
        Count("paper", _TWO, (), 1_073_889),
        Count("paper", _TWO, (3,), 1_074_915),
        Count("small", {"height": 10, "width": 10}, (), 1_197),
    ),
    example={"height": 10, "width": 10},
    replaced=(
        Replacement(
            paper="bins between the smallest and the largest expression of each gene",
            here="bins that the author of the study fixes, the same for all genes",
            why="a smallest or largest value is that of one cell",
        ),
        Replacement(
            paper="one histogram over the cells of all donors",
            here="where donors are to be protected, one for each donor, whose pairs are averaged into one gradient; "
            "data.records_per_patient says how many",
            why="a donor's cells are in every pair's histogram: hiding a pair hides no donor",
        ),
        Replacement(
            paper="training ends when the validation's accuracy rises no more",
            here="a fixed number of rounds",
            why="an accuracy is computed from patients: looking at it costs privacy",
        ),
    ),
)
