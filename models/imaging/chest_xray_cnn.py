"""A small convolutional network for radiographs: blocks of convolution and pooling, then one hidden layer.

Sizes of an image of ``s`` pixels in each block: a valid convolution leaves s - 2, one with "same" padding s, and the
pooling half of it, rounded down.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs
from models.layers.image_blocks import Activation, Norm, make_activation, make_block

_NAME: Final = "chest-xray-cnn"


class ChestXrayOptions(Options):
    """The options of ``chest-xray-cnn``.

    Attributes:
        filters: of the blocks, first to last.
        summary: what the last block's maps become: ``flatten`` keeps every place, ``average`` one mean of each map.
        hidden: units of the hidden layer; 0 for none.
        padding: ``valid`` or ``same``; ``auto`` is valid where every block has something left, else same.
        norm: after each convolution.
        activation: after each convolution and after the hidden layer.
        dropout: the share of the summary that is dropped in training.
    """

    filters: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(
        default=(32, 64, 128, 128), min_length=1, max_length=8
    )
    summary: Literal["flatten", "average"] = "flatten"
    hidden: int = Field(default=512, ge=0, le=8192)
    padding: Literal["auto", "valid", "same"] = "auto"
    norm: Norm = "none"
    activation: Activation = "relu"
    dropout: float = Field(default=0.5, ge=0, le=0.9)


class ChestXrayCnn(nn.Module):
    """Blocks, a summary of their maps, and a perceptron."""

    def __init__(self, options: ChestXrayOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        padding = _choose_padding(options, sizes)
        height, width = (_measure(sizes[axis], len(options.filters), padding) for axis in ("height", "width"))
        blocks: list[nn.Module] = []
        channels = sizes["channels"]
        for filters in options.filters:
            blocks += [make_block(channels, filters, options.activation, options.norm, padding), nn.MaxPool2d(2)]
            channels = filters
        self.blocks = nn.Sequential(*blocks)
        self._averages = options.summary == "average"
        features = channels if self._averages else channels * height * width
        layers: list[nn.Module] = [nn.Dropout(options.dropout)]
        if options.hidden:
            layers += [nn.Linear(features, options.hidden), make_activation(options.activation)]
        self.layers = nn.Sequential(*layers, nn.Linear(options.hidden or features, count_outputs(outputs)))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``image`` (records, channels, height, width); (records, *outputs)."""
        maps = self.blocks(inputs["image"])  # (records, filters, height, width), of the last block
        summary = maps.mean((2, 3)) if self._averages else maps.flatten(1)
        return shape_outputs(self.layers(summary), self._outputs)


def build(options: ChestXrayOptions, sizes: Sizes, outputs: tuple[int, ...]) -> ChestXrayCnn:
    """Build the network for images of ``sizes``.

    Raises:
        ModelError: nothing of the image would be left after the last block.
    """
    return ChestXrayCnn(options, sizes, outputs)


def _measure(length: int, blocks: int, padding: int) -> int:
    """Return what is left of a height or width after all blocks; 0 if nothing is."""
    for _ in range(blocks):
        length = max(0, length - 2 + 2 * padding) // 2
    return length


def _choose_padding(options: ChestXrayOptions, sizes: Sizes) -> int:
    """Return 0 for valid convolutions, 1 for "same" ones."""
    blocks = len(options.filters)
    axis = min(("height", "width"), key=lambda name: sizes[name])
    valid = options.padding == "valid" or (
        options.padding == "auto" and _measure(sizes[axis], blocks, padding=0) > 0
    )
    padding = 0 if valid else 1
    if not _measure(sizes[axis], blocks, padding):
        least = next(length for length in range(1, 1 << 12) if _measure(length, blocks, padding))
        advice = "padding: same" if valid else "fewer filters"
        raise ModelError(
            f"the model '{_NAME}' with {blocks} blocks expects a {axis} of at least {least}, got {sizes[axis]}; "
            f"write {advice}, or take larger images"
        )
    return padding


MODEL: Final = ModelEntry(
    title="Convolutional network for chest radiographs",
    domain="imaging",
    options=ChestXrayOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(Input("image", "number", ("channels", "height", "width"), "a radiograph"),),
    citation="the common form with four blocks, after Stephen, Sain, Maduh and Jeong 2019, An efficient deep learning "
    "approach to pneumonia classification in healthcare, Journal of Healthcare Engineering 2019:4180949",
    presets={
        "paper": ChestXrayOptions(),
        "pooled": ChestXrayOptions(summary="average", hidden=0),
        "small": ChestXrayOptions(
            filters=(8, 16, 16), summary="average", hidden=0, norm="group", activation="tanh", dropout=0.0
        ),
    },
    counts=(
        Count("paper", {"channels": 1, "height": 64, "width": 64}, (), 503_425),
        # normal, bacterial and viral
        Count("paper", {"channels": 1, "height": 64, "width": 64}, (3,), 504_451),
        Count("paper", {"channels": 1, "height": 200, "width": 200}, (), 6_794_881),
        Count("paper", {"channels": 1, "height": 28, "width": 28}, (), 306_817),
        Count("pooled", {"channels": 1, "height": 64, "width": 64}, (), 240_385),
        Count("small", {"channels": 1, "height": 28, "width": 28}, (), 3_665),
    ),
    example={"channels": 1, "height": 28, "width": 28},
    replaced=(
        Replacement(
            paper="records of the rarer class drawn more often, or batches with equal classes",
            here="a fixed public weight of positive records in the task's loss",
            why="who is drawn must not depend on the label: privacy is computed for a sampling rate that is the same "
            "for every patient",
        ),
        Replacement(
            paper="each image is an example",
            here="all images of a patient are averaged into one gradient",
            why="the promise is made to patients, some of whom have several images",
        ),
        Replacement(
            paper="rectified linear units, a flattened map and a hidden layer of 512",
            here="the same in preset paper; averages of few maps, group normalisation and tanh in preset small",
            why="noise grows with the number of parameters, and bounded activations keep gradients short (Papernot et "
            "al. 2021, Tempered sigmoid activations)",
        ),
        Replacement(
            paper="valid convolutions on images of 64 pixels and more",
            here='the same; "same" padding where nothing would be left, as of images of 28 pixels',
            why="so that public sets of small images can be used; this is not for privacy",
        ),
    ),
)
