"""U-Net for masks of images: convolutions on ever coarser maps, then back up, each level with what it saw going down.

The form is that of the robot-surgery comparison: "same" padding, nearest up-sampling, a last pooling of 4. With F
filters and levels 1..5, widths are F, 2F, 4F, 8F, 16F; each level has two convolutions.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.imaging.robot_surgery import CITATION, FRAMES, OVERLAP, REPOSITORY, describe_figures
from models.layers.image_blocks import Activation, Norm, make_block
from models.layers.segmentation import count_classes, require_multiple, shape_mask

_NAME: Final = "unet"


class UnetOptions(Options):
    """The options of ``unet``.

    Attributes:
        filters: F, of the finest level; each coarser level has twice as many.
        levels: how many there are.
        last_pooling: by how much the coarsest level is smaller than the one above it; others are halved.
        norm: after each convolution.
        activation: after each convolution.
    """

    filters: int = Field(default=32, ge=1, le=128)
    levels: int = Field(default=5, ge=2, le=6)
    last_pooling: Literal[2, 4] = 4
    norm: Norm = "none"
    activation: Activation = "relu"


class Unet(nn.Module):
    """Levels down, levels up, and a 1x1 convolution."""

    def __init__(self, options: UnetOptions, channels: int, classes: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        widths = [options.filters << level for level in range(options.levels)]
        steps = [2] * (options.levels - 2) + [options.last_pooling]  # from each level to the next coarser one
        self.down = nn.ModuleList(
            _make_level(options, before, width) for before, width in zip([channels, *widths], widths, strict=False)
        )
        self.pools = nn.ModuleList(nn.MaxPool2d(step) for step in steps)
        self.samplers = nn.ModuleList(nn.Upsample(scale_factor=step, mode="nearest") for step in steps)
        self.up = nn.ModuleList(_make_level(options, coarse + width, width) for width, coarse in pairwise(widths))
        self.head = nn.Conv2d(options.filters, classes, 1)
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return logits for every pixel of ``image`` (records, channels, height, width); (records, *outputs)."""
        maps = self.down[0](inputs["image"])  # (records, F, height, width)
        passed = []
        for level, pool in zip(list(self.down)[1:], self.pools, strict=True):
            passed.append(maps)
            maps = level(pool(maps))  # (records, 2F, height / 2, width / 2), then 4F, ...
        for level, sampler in reversed(list(zip(self.up, self.samplers, strict=True))):
            maps = level(torch.cat([sampler(maps), passed.pop()], dim=1))
        return shape_mask(self.head(maps), self._outputs)


def build(options: UnetOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Unet:
    """Build a U-Net that gives a mask as large as its image.

    Raises:
        ModelError: height or width cannot be halved so often, or the outputs are no mask.
    """
    require_multiple(_NAME, sizes, 2 ** (options.levels - 2) * options.last_pooling)
    return Unet(options, sizes["channels"], count_classes(_NAME, sizes, outputs), outputs)


def _make_level(options: UnetOptions, channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        make_block(channels, width, options.activation, options.norm),
        make_block(width, width, options.activation, options.norm),
    )


MODEL: Final = ModelEntry(
    title="U-Net",
    domain="imaging",
    options=UnetOptions,
    build=build,
    tasks=("segmentation",),
    inputs=(Input("image", "number", ("channels", "height", "width"), "an image"),),
    citation="Ronneberger, Fischer and Brox 2015, U-Net: convolutional networks for biomedical image segmentation, "
    f"MICCAI, LNCS 9351:234-241; this form: {CITATION}",
    repository=REPOSITORY,
    presets={
        "paper": UnetOptions(),
        "small": UnetOptions(filters=8, levels=3, last_pooling=2, norm="group", activation="elu"),
    },
    counts=(
        Count("paper", {"channels": 3, "height": 64, "width": 64}, (64, 64), 7_846_657),
        Count("paper", {"channels": 3, "height": 64, "width": 64}, (8, 64, 64), 7_846_888),
        Count("small", {"channels": 1, "height": 16, "width": 16}, (16, 16), 29_937),
    ),
    example={"channels": 1, "height": 32, "width": 32},
    figures=describe_figures(75.44, 48.41, 15.80),
    replaced=(
        OVERLAP,
        FRAMES,
        Replacement(
            paper="rectified linear units, no normalisation",
            here="the same in preset paper; ELU and group normalisation in preset small",
            why="group normalisation stays within a record; gradients of smooth activations vary less in length, so "
            "that clipping changes them less",
        ),
    ),
)
