"""LinkNet-34: a residual network of 34 layers as an encoder, and a light decoder that adds what the encoder saw.

With F filters (64 in the paper) and an image of height h:

=========  ===============================================  ==========  ================================
stage      encoder                                          height      decoder
=========  ===============================================  ==========  ================================
stem       7x7 convolution with step 2, F                   h / 2
1          3x3 pooling with step 2; 3 residual blocks, F    h / 4       F to F
2          4 residual blocks, 2F                            h / 8       2F to F, plus stage 1
3          6 residual blocks, 4F                            h / 16      4F to 2F, plus stage 2
4          3 residual blocks, 8F                            h / 32      8F to 4F, plus stage 3
=========  ===============================================  ==========  ================================

A residual block has two 3x3 convolutions; what it takes is added to what they give, after a 1x1 convolution where width
or height differ. A block of the decoder has a 1x1 convolution to a quarter of the width, a transposed convolution that
doubles height and width, and a 1x1 convolution. The last layers double once more: a transposed 3x3, a 3x3 and a 2x2
convolution, with F / 2 maps.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.imaging.robot_surgery import CITATION, FRAMES, OVERLAP, REPOSITORY, SCALE, describe_figures
from models.layers.image_blocks import (
    Activation,
    Norm,
    list_after_convolution,
    list_norm,
    make_activation,
    make_doubling_block,
)
from models.layers.segmentation import count_classes, require_multiple, shape_mask

_NAME: Final = "linknet34"
_HALVED: Final = 32  # how much smaller the last stage's maps are than the image
_STAGES: Final = 4


class LinkNetOptions(Options):
    """The options of ``linknet34``.

    Attributes:
        filters: F, of the stem and the first stage; a multiple of 4.
        blocks: residual blocks of each stage.
        norm: after each convolution, but for the last three.
        activation: after each convolution.
    """

    filters: int = Field(default=64, ge=4, le=256, multiple_of=4)
    blocks: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        default=(3, 4, 6, 3), min_length=_STAGES, max_length=_STAGES
    )
    norm: Norm = "group"
    activation: Activation = "relu"


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, to whose result the block's input is added."""

    def __init__(self, options: LinkNetOptions, channels: int, filters: int, step: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, filters, 3, stride=step, padding=1, bias=False),
            *list_after_convolution(filters, options.activation, options.norm),
            nn.Conv2d(filters, filters, 3, padding=1, bias=False),
            *list_norm(filters, options.norm),
        )
        self.shortcut = nn.Sequential()
        if step > 1 or channels != filters:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, filters, 1, stride=step, bias=False),
                *list_norm(filters, options.norm),
            )
        self.activation = make_activation(options.activation)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return (records, filters, height / step, width / step) of ``maps`` (records, channels, height, width)."""
        found: torch.Tensor = self.activation(self.convolutions(maps) + self.shortcut(maps))
        return found


class LinkNet(nn.Module):
    """Stem, stages, decoder and last layers."""

    def __init__(self, options: LinkNetOptions, channels: int, classes: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        unit = options.filters
        self.stem = nn.Sequential(
            nn.Conv2d(channels, unit, 7, stride=2, padding=3, bias=False),
            *list_after_convolution(unit, options.activation, options.norm),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        widths = [unit << stage for stage in range(_STAGES)]
        self.stages = nn.ModuleList(
            _make_stage(options, before, width, blocks)
            for before, width, blocks in zip([unit, *widths], widths, options.blocks, strict=False)
        )
        self.decoder = nn.ModuleList(
            _make_decoder_block(options, coarse, fine) for coarse, fine in pairwise([*reversed(widths), unit])
        )
        self.last = nn.Sequential(
            nn.ConvTranspose2d(unit, unit // 2, 3, stride=2),
            make_activation(options.activation),
            nn.Conv2d(unit // 2, unit // 2, 3),
            make_activation(options.activation),
            nn.Conv2d(unit // 2, classes, 2, padding=1),
        )
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return logits for every pixel of ``image`` (records, channels, height, width); (records, *outputs)."""
        maps = self.stem(inputs["image"])  # (records, F, height / 4, width / 4)
        passed = []
        for stage in self.stages:
            maps = stage(
                maps
            )  # (records, F, height / 4, width / 4), then (records, 2F, height / 8, width / 8), ...
            passed.append(maps)
        maps = passed.pop()
        for block in self.decoder:
            maps = block(maps)
            if passed:
                maps = maps + passed.pop()
        return shape_mask(self.last(maps), self._outputs)  # of (records, F, height / 2, width / 2)


def build(options: LinkNetOptions, sizes: Sizes, outputs: tuple[int, ...]) -> LinkNet:
    """Build a LinkNet-34 that gives a mask as large as its image.

    Raises:
        ModelError: height or width is no multiple of 32, or the outputs are no mask.
    """
    require_multiple(_NAME, sizes, _HALVED)
    return LinkNet(options, sizes["channels"], count_classes(_NAME, sizes, outputs), outputs)


def _make_stage(options: LinkNetOptions, channels: int, width: int, blocks: int) -> nn.Sequential:
    """Make a stage, whose first block halves height and width where it widens the maps."""
    first = ResidualBlock(options, channels, width, 1 if channels == width else 2)
    return nn.Sequential(first, *(ResidualBlock(options, width, width, 1) for _ in range(blocks - 1)))


def _make_decoder_block(options: LinkNetOptions, channels: int, filters: int) -> nn.Sequential:
    quarter = channels // 4
    return nn.Sequential(
        nn.Conv2d(channels, quarter, 1),
        *list_after_convolution(quarter, options.activation, options.norm),
        *make_doubling_block(quarter, quarter, options.activation, options.norm),
        nn.Conv2d(quarter, filters, 1),
        *list_after_convolution(filters, options.activation, options.norm),
    )


MODEL: Final = ModelEntry(
    title="LinkNet-34",
    domain="imaging",
    options=LinkNetOptions,
    build=build,
    tasks=("segmentation",),
    inputs=(Input("image", "number", ("channels", "height", "width"), "an image"),),
    citation=f"{CITATION}; Chaurasia and Culurciello 2017, LinkNet: exploiting encoder representations for efficient "
    "semantic segmentation, IEEE VCIP, arXiv:1707.03718; He, Zhang, Ren and Sun 2016, Deep residual learning for image "
    "recognition, CVPR, arXiv:1512.03385",
    repository=REPOSITORY,
    presets={
        "paper": LinkNetOptions(),
        "small": LinkNetOptions(filters=4, blocks=(1, 1, 1, 1), activation="elu"),
    },
    # a norm has a weight and a bias for each channel, as batch normalisation has
    counts=(
        Count("paper", {"channels": 3, "height": 64, "width": 64}, (64, 64), 21_794_721),
        Count("paper", {"channels": 3, "height": 64, "width": 64}, (8, 64, 64), 21_795_624),
        Count("small", {"channels": 3, "height": 32, "width": 32}, (32, 32), 22_231),
    ),
    example={"channels": 3, "height": 32, "width": 32},
    figures=describe_figures(82.36, 34.55, 22.47),
    replaced=(
        Replacement(
            paper="batch normalisation",
            here="group normalisation",
            why="no layer may mix records; it has as many parameters",
        ),
        Replacement(
            paper="an encoder that begins at the weights of a ResNet-34 of ImageNet",
            here="random first values, or a public file of weights that model.start names",
            why="no weights are distributed with this program, and a network that was trained with batch normalisation "
            "is another one without it: its weights must come from one with group normalisation",
        ),
        OVERLAP,
        SCALE,
        FRAMES,
        Replacement(
            paper="rectified linear units, 22 million parameters",
            here="the same in preset paper; four filters, one residual block a stage and ELU in preset small",
            why="noise grows with the number of parameters; gradients of smooth activations vary less in length, so "
            "that clipping changes them less",
        ),
    ),
)
