"""MD-GRU for masks of volumes: gated recurrent units walk along every axis, forward and backward.

A block is a layer of such units, whose six walks are averaged, and a linear layer at every voxel with a hyperbolic
tangent; the last block's linear layer gives the logits. A volume with a depth of 1 is an image.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.convolutional_gru import MultiDimensionalGatedUnits
from models.layers.segmentation import count_classes, shape_mask

_NAME: Final = "md-gru"
Width = Annotated[int, Field(ge=1, le=256)]


class MdGruOptions(Options):
    """The options of ``md-gru``.

    Attributes:
        states: maps of the units of each block.
        features: of the linear layer after each block but the last one.
        kernel: height and width of all convolutions; odd.
    """

    states: tuple[Width, ...] = Field(default=(16, 32, 64), min_length=1, max_length=6)
    features: tuple[Width, ...] = Field(default=(25, 45), max_length=5)
    kernel: int = Field(default=7, ge=1, le=15)

    @model_validator(mode="after")
    def _one_layer_between_blocks(self) -> Self:
        if len(self.features) != len(self.states) - 1:
            raise ValueError(
                f"features has a number for every block but the last: expected {len(self.states) - 1}, got "
                f"{len(self.features)}"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        return self


class MdGru(nn.Module):
    """Blocks of gated units and linear layers."""

    def __init__(self, options: MdGruOptions, channels: int, classes: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        widths = [channels, *options.features, classes]
        layers: list[nn.Module] = []
        for (before, after), width in zip(pairwise(widths), options.states, strict=True):
            layers += [
                MultiDimensionalGatedUnits(before, width, options.kernel),
                nn.Conv3d(width, after, 1),
                nn.Tanh(),
            ]
        self.blocks = nn.Sequential(*layers[:-1])
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return logits for every voxel of ``image`` (records, channels, depth, height, width); (records, *outputs)."""
        return shape_mask(self.blocks(inputs["image"]), self._outputs)


def build(options: MdGruOptions, sizes: Sizes, outputs: tuple[int, ...]) -> MdGru:
    """Build an MD-GRU that gives a mask as large as its volume.

    Raises:
        ModelError: the outputs are no mask.
    """
    return MdGru(options, sizes["channels"], count_classes(_NAME, sizes, outputs), outputs)


MODEL: Final = ModelEntry(
    title="Multi-dimensional gated recurrent units",
    domain="imaging",
    options=MdGruOptions,
    build=build,
    tasks=("segmentation",),
    inputs=(
        Input(
            "image", "number", ("channels", "depth", "height", "width"), "a volume, or images one behind another"
        ),
    ),
    citation="Andermatt, Pezold and Cattin 2016, Multi-dimensional gated recurrent units for the segmentation of "
    "biomedical 3D-data, LABELS and DLMIA at MICCAI, LNCS 10008:142-151",
    repository="https://github.com/zubata88/mdgru",
    presets={
        "paper": MdGruOptions(),
        "small": MdGruOptions(states=(3, 3), features=(2,), kernel=3),
    },
    counts=(
        Count("paper", {"channels": 1, "depth": 8, "height": 8, "width": 8}, (3, 8, 8, 8), 8_005_625),
        Count("paper", {"channels": 3, "depth": 8, "height": 8, "width": 8}, (4, 8, 8, 8), 8_033_914),
        Count("small", {"channels": 1, "depth": 4, "height": 8, "width": 8}, (4, 8, 8), 4_494),
    ),
    example={"channels": 1, "depth": 4, "height": 4, "width": 4},
    replaced=(
        Replacement(
            paper="weights of the gates are dropped at random, the same ones for a whole batch",
            here="nothing is dropped",
            why="a draw that a batch shares would be no function of one record; clipping and noise regularise too",
        ),
        Replacement(
            paper="sub-volumes drawn at random, whole volumes put together from parts",
            here="whole volumes, of the study's size",
            why="all volumes of a patient are averaged into one gradient, since the promise is made to patients",
        ),
        Replacement(
            paper="cross-entropy, in later versions mixed with the Dice of a batch",
            here="the task's loss: cross-entropy, and with task.overlap_weight the soft Dice of each volume alone",
            why="a loss over a batch joins patients, so that no patient's share of the gradient could be bounded",
        ),
        Replacement(
            paper="7x7 convolutions, 8 million parameters",
            here="the same in preset paper; two blocks of three states and 3x3 convolutions in preset small",
            why="noise grows with the number of parameters",
        ),
    ),
)
