"""TernausNet-11: the convolutions of VGG-11 as an encoder, and a decoder of transposed convolutions with skips.

With F filters (32 in the paper) and an image of height h:

=========  ==============================  ==========  ============================================
level      encoder, 3x3 convolutions       height      decoder: in, middle, out (+ skip)
=========  ==============================  ==========  ============================================
1          2F                              h           3x3 convolution, F + 2F to F
2          4F                              h / 2       2F + 4F, 4F, F
3          8F, 8F                          h / 4       4F + 8F, 8F, 2F
4          16F, 16F                        h / 8       8F + 16F, 16F, 4F
5          16F, 16F                        h / 16      8F + 16F, 16F, 8F
centre                                     h / 32      16F, 16F, 8F
=========  ==============================  ==========  ============================================
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.image_blocks import Activation, Norm, list_after_convolution, make_block
from models.layers.segmentation import count_classes, require_multiple, shape_mask

_NAME: Final = "ternausnet11"
_ENCODER: Final = ((2,), (4,), (8, 8), (16, 16), (16, 16))
"""Filters of each level's convolutions, in units of F."""
_DECODER: Final = ((16, 8), (16, 4), (8, 2), (4, 1))
"""Middle and out of the decoder's blocks for levels 5 to 2, in units of F."""
_HALVED: Final = 32  # how much smaller the centre's maps are than the image


class TernausNetOptions(Options):
    """The options of ``ternausnet11``.

    Attributes:
        filters: F; parameters grow with its square.
        norm: after each convolution.
        activation: after each convolution.
    """

    filters: int = Field(default=32, ge=1, le=128)
    norm: Norm = "none"
    activation: Activation = "relu"


class TernausNet11(nn.Module):
    """Encoder, centre, decoder, and a 1x1 convolution."""

    def __init__(self, options: TernausNetOptions, channels: int, classes: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        unit = options.filters
        self.encoder = nn.ModuleList()
        for level in _ENCODER:
            blocks = []
            for filters in level:
                blocks.append(make_block(channels, filters * unit, options.activation, options.norm))
                channels = filters * unit
            self.encoder.append(nn.Sequential(*blocks))
        self.pool = nn.MaxPool2d(2)
        self.centre = _make_decoder_block(options, channels, 16 * unit, 8 * unit)
        self.decoder = nn.ModuleList()
        below = 8 * unit
        for skip, (middle, out) in zip(reversed(_ENCODER), _DECODER, strict=False):
            self.decoder.append(_make_decoder_block(options, below + skip[-1] * unit, middle * unit, out * unit))
            below = out * unit
        self.decoder.append(make_block(below + _ENCODER[0][-1] * unit, unit, options.activation, options.norm))
        self.head = nn.Conv2d(unit, classes, 1)
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return logits for every pixel of ``image`` (records, channels, height, width); (records, *outputs)."""
        maps = inputs["image"]
        passed = []
        for level in self.encoder:
            maps = level(maps)  # (records, 2F, height, width), then (records, 4F, height / 2, width / 2), ...
            passed.append(maps)
            maps = self.pool(maps)
        maps = self.centre(maps)  # (records, 8F, height / 16, width / 16)
        for block in self.decoder:
            maps = block(torch.cat([maps, passed.pop()], dim=1))
        return shape_mask(self.head(maps), self._outputs)


def build(options: TernausNetOptions, sizes: Sizes, outputs: tuple[int, ...]) -> TernausNet11:
    """Build a TernausNet-11 that gives a mask as large as its image.

    Raises:
        ModelError: height or width is no multiple of 32, or the outputs are no mask.
    """
    require_multiple(_NAME, sizes, _HALVED)
    return TernausNet11(options, sizes["channels"], count_classes(_NAME, sizes, outputs), outputs)


def _make_decoder_block(options: TernausNetOptions, channels: int, middle: int, out: int) -> nn.Sequential:
    """Make a 3x3 convolution, and a transposed 4x4 one that doubles height and width."""
    return nn.Sequential(
        make_block(channels, middle, options.activation, options.norm),
        nn.ConvTranspose2d(middle, out, 4, stride=2, padding=1),
        *list_after_convolution(out, options.activation, options.norm),
    )


MODEL: Final = ModelEntry(
    title="TernausNet-11",
    domain="imaging",
    options=TernausNetOptions,
    build=build,
    tasks=("segmentation",),
    inputs=(Input("image", "number", ("channels", "height", "width"), "an image"),),
    citation="Shvets, Rakhlin, Kalinin and Iglovikov 2018, Automatic instrument segmentation in robot-assisted surgery "
    "using deep learning, ICMLA, arXiv:1803.01207; Iglovikov and Shvets 2018, TernausNet: U-Net with VGG11 encoder "
    "pre-trained on ImageNet for image segmentation, arXiv:1801.05746",
    repository="https://github.com/ternaus/robot-surgery-segmentation",
    presets={
        "paper": TernausNetOptions(),
        "small": TernausNetOptions(filters=2, norm="group", activation="elu"),
    },
    counts=(
        Count("paper", {"channels": 3, "height": 64, "width": 64}, (64, 64), 25_364_513),
        Count("small", {"channels": 3, "height": 32, "width": 32}, (32, 32), 100_183),
    ),
    example={"channels": 3, "height": 32, "width": 32},
    figures="Without privacy, on the robot-surgery videos of EndoVis 2017, the paper reports an intersection over "
    "union of 81.14 % for instruments against background, 62.23 % for their parts, 34.61 % for their kinds (Shvets et "
    "al. 2018).",
    replaced=(
        Replacement(
            paper="an encoder that begins at VGG-11's weights of ImageNet",
            here="random first values, or a public file of weights that model.start names",
            why="no weights are distributed with this program; VGG-11 has no batch normalisation, so a converted file "
            "fits, and frozen in model.frozen it costs no privacy",
        ),
        Replacement(
            paper="minus the logarithm of the Jaccard index, summed over the batch, added to the cross-entropy",
            here="the task's loss: cross-entropy, and with task.overlap_weight the soft Dice of each image alone",
            why="a loss over a batch joins patients, so that no patient's share of the gradient could be bounded",
        ),
        Replacement(
            paper="images normalised with the means and deviations of ImageNet",
            here="numbers scaled from their public range",
            why="the data contract scales every input alike; a file of ImageNet's weights needs its first layer "
            "converted to this scale",
        ),
        Replacement(
            paper="every frame of a video is an example, in batches of 6 to 16",
            here="all frames of a patient are averaged into one gradient, and lots are drawn at random",
            why="the promise is made to patients, not to frames",
        ),
        Replacement(
            paper="rectified linear units, no normalisation, 25 million parameters",
            here="the same in preset paper; two filters, ELU and group normalisation in preset small",
            why="noise grows with the number of parameters; group normalisation stays within a record",
        ),
    ),
)
