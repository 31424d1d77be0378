"""An image and a row of a table together: a convolutional encoder, a perceptron, and their fusion.

===============================  ==============================================================================
``fusion``                       what is joined
===============================  ==============================================================================
``intermediate``                 the features of both encoders, read by one head
``late``, ``rule: mean``         the outputs of two complete networks, averaged
``late``, ``rule: layer``        the same outputs, side by side, read by a last linear layer
===============================  ==============================================================================

The widths are ours; the paper compares ways of fusion and has no network of its own.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.fusion import IntermediateFusion, LateFusion
from models.layers.heads import count_outputs, shape_outputs
from models.layers.image_blocks import Activation, Norm, make_activation, make_block, require_sides

_NAME: Final = "image-table"
Width = Annotated[int, Field(ge=1, le=4096)]


class ImageTableOptions(Options):
    """The options of ``image-table``.

    Attributes:
        filters: of the image encoder's blocks, first to last; each is halved, and the last maps are averaged.
        units: of the table encoder's layers, first to last.
        fusion: what is joined.
        rule: how late fusion joins.
        hidden: units of the head's hidden layer with intermediate fusion; 0 for none.
        norm: after each convolution.
        activation: everywhere.
    """

    filters: tuple[Width, ...] = Field(default=(16, 32, 64), min_length=1, max_length=6)
    units: tuple[Width, ...] = Field(default=(64, 32), min_length=1, max_length=6)
    fusion: Literal["intermediate", "late"] = "intermediate"
    rule: Literal["mean", "layer"] = "mean"
    hidden: int = Field(default=32, ge=0, le=4096)
    norm: Norm = "group"
    activation: Activation = "elu"


class ImageEncoder(nn.Module):
    """Blocks of convolution and pooling, and the mean of each of the last maps."""

    def __init__(self, options: ImageTableOptions, channels: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for filters in options.filters:
            blocks += [make_block(channels, filters, options.activation, options.norm), nn.MaxPool2d(2)]
            channels = filters
        self.blocks = nn.Sequential(*blocks)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Encode ``image`` (records, channels, height, width); (records, filters of the last block)."""
        means: torch.Tensor = self.blocks(image).mean((2, 3))
        return means


class ImageTable(nn.Module):
    """Both encoders and their fusion."""

    def __init__(self, options: ImageTableOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        numbers = count_outputs(outputs)
        encoders = {
            "image": ImageEncoder(options, sizes["channels"]),
            "features": _make_table_encoder(options, sizes["features"]),
        }
        widths = {"image": options.filters[-1], "features": options.units[-1]}
        self.fusion: nn.Module
        if options.fusion == "intermediate":
            self.fusion = IntermediateFusion(encoders, _make_head(options, sum(widths.values()), numbers))
        else:
            branches = {
                name: nn.Sequential(encoder, nn.Linear(widths[name], numbers)) for name, encoder in encoders.items()
            }
            joint = nn.Linear(len(branches) * numbers, numbers) if options.rule == "layer" else None
            self.fusion = LateFusion(branches, joint)
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``image`` (records, channels, height, width) and ``features`` (records, features).

        The shape is (records, *outputs).
        """
        return shape_outputs(self.fusion(inputs), self._outputs)


def build(options: ImageTableOptions, sizes: Sizes, outputs: tuple[int, ...]) -> ImageTable:
    """Build both encoders and their fusion.

    Raises:
        ModelError: the image cannot be halved in every block.
    """
    least = 2 ** len(options.filters)
    require_sides(
        f"the model '{_NAME}' with {len(options.filters)} blocks",
        sizes,
        least,
        "write fewer filters, or take larger images",
    )
    return ImageTable(options, sizes, outputs)


def _make_table_encoder(options: ImageTableOptions, features: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for units in options.units:
        layers += [nn.Linear(features, units), make_activation(options.activation)]
        features = units
    return nn.Sequential(*layers)


def _make_head(options: ImageTableOptions, features: int, numbers: int) -> nn.Sequential:
    if not options.hidden:
        return nn.Sequential(nn.Linear(features, numbers))
    return nn.Sequential(
        nn.Linear(features, options.hidden), make_activation(options.activation), nn.Linear(options.hidden, numbers)
    )


MODEL: Final = ModelEntry(
    title="Fusion of an image and a table",
    domain="imaging",
    options=ImageTableOptions,
    build=build,
    tasks=("binary", "multiclass"),
    inputs=(
        Input("image", "number", ("channels", "height", "width"), "an image"),
        Input("features", "number", ("features",), "the numbers of the same record"),
    ),
    citation="Huang, Pareek, Seyyedi, Banerjee and Lungren 2020, Fusion of medical imaging and electronic health "
    "records using deep learning: a systematic review and implementation guidelines, npj Digital Medicine 3:136",
    presets={
        "paper": ImageTableOptions(),
        "small": ImageTableOptions(filters=(4, 8), units=(8,), fusion="late", activation="tanh"),
    },
    counts=(
        Count("paper", {"channels": 1, "height": 64, "width": 64, "features": 30}, (), 30_721),
        Count("small", {"channels": 1, "height": 16, "width": 16, "features": 6}, (), 434),
    ),
    example={"channels": 1, "height": 16, "width": 16, "features": 6},
    replaced=(
        Replacement(
            paper="image encoders with batch normalisation that begin at weights of ImageNet",
            here="a small encoder with group normalisation, from random first values or a public file that model.start "
            "names",
            why="batch normalisation mixes patients; no weights are distributed with this program",
        ),
        Replacement(
            paper="late fusion of models that are trained one after the other",
            here="both branches are trained together, and a patient's gradient over both is clipped once",
            why="two clipped gradients of one patient would have to be paid twice",
        ),
        Replacement(
            paper="late fusion averages probabilities",
            here="the mean of logits",
            why="the task computes its loss from logits; this is not for privacy",
        ),
    ),
)
