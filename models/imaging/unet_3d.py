"""3D U-Net for masks of volumes: down over ever coarser maps and up again, each level with what it saw going down.

With F filters and levels 1..4, a level going down has two convolutions; the second one doubles the width before the map
is halved: 2F, 4F, 8F, 16F. Going up, a transposed convolution doubles the map, the map of the way down is put beside
it, and two convolutions bring both to the width of that map.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.image_blocks import Activation, Norm, count_groups, make_activation
from models.layers.segmentation import count_classes, require_multiple, shape_mask

_NAME: Final = "unet-3d"


class Unet3dOptions(Options):
    """The options of ``unet-3d``.

    Attributes:
        filters: F, of the very first convolution.
        levels: how many there are.
        norm: after each convolution; it has no parameters.
        activation: after each convolution.
    """

    filters: int = Field(default=32, ge=1, le=64)
    levels: int = Field(default=4, ge=2, le=5)
    norm: Norm = "group"
    activation: Activation = "relu"


class Unet3d(nn.Module):
    """Levels down, levels up, and a 1x1x1 convolution."""

    def __init__(self, options: Unet3dOptions, channels: int, classes: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        widths = [options.filters << (level + 1) for level in range(options.levels)]  # after each level
        self.down = nn.ModuleList(
            _make_level(options, before, width // 2, width)
            for before, width in zip([channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool3d(2)
        self.samplers = nn.ModuleList(
            nn.ConvTranspose3d(coarse, coarse, 2, stride=2, bias=False) for coarse in widths[1:]
        )
        self.up = nn.ModuleList(
            _make_level(options, coarse + width, width, width) for width, coarse in pairwise(widths)
        )
        self.head = nn.Conv3d(widths[0], classes, 1)
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return logits for every voxel of ``image`` (records, channels, depth, height, width); (records, *outputs)."""
        maps = self.down[0](inputs["image"])  # (records, 2F, depth, height, width)
        passed = []
        for level in list(self.down)[1:]:
            passed.append(maps)
            maps = level(self.pool(maps))  # (records, 4F, depth / 2, height / 2, width / 2), then 8F, ...
        for level, sampler in reversed(list(zip(self.up, self.samplers, strict=True))):
            maps = level(torch.cat([sampler(maps), passed.pop()], dim=1))
        return shape_mask(self.head(maps), self._outputs)


def build(options: Unet3dOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Unet3d:
    """Build a 3D U-Net that gives a mask as large as its volume.

    Raises:
        ModelError: an axis cannot be halved so often, or the outputs are no mask.
    """
    require_multiple(_NAME, sizes, 1 << (options.levels - 1))
    return Unet3d(options, sizes["channels"], count_classes(_NAME, sizes, outputs), outputs)


def _make_level(options: Unet3dOptions, channels: int, middle: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in ((channels, middle), (middle, width)):
        layers.append(nn.Conv3d(before, after, 3, padding=1))
        if options.norm == "group":
            layers.append(nn.GroupNorm(count_groups(after), after, affine=False))
        layers.append(make_activation(options.activation))
    return nn.Sequential(*layers)


MODEL: Final = ModelEntry(
    title="3D U-Net",
    domain="imaging",
    options=Unet3dOptions,
    build=build,
    tasks=("segmentation",),
    inputs=(Input("image", "number", ("channels", "depth", "height", "width"), "a volume"),),
    citation="Çiçek, Abdulkadir, Lienkamp, Brox and Ronneberger 2016, 3D U-Net: learning dense volumetric segmentation "
    "from sparse annotation, MICCAI, LNCS 9901:424-432, arXiv:1606.06650",
    presets={
        "paper": Unet3dOptions(),
        "small": Unet3dOptions(filters=2, levels=3, activation="elu"),
    },
    counts=(
        Count("paper", {"channels": 3, "depth": 16, "height": 16, "width": 16}, (3, 16, 16, 16), 19_069_955),
        Count("paper", {"channels": 1, "depth": 16, "height": 16, "width": 16}, (16, 16, 16), 19_068_097),
        Count("small", {"channels": 1, "depth": 8, "height": 8, "width": 8}, (8, 8, 8), 18_021),
    ),
    example={"channels": 1, "depth": 8, "height": 8, "width": 8},
    replaced=(
        Replacement(
            paper="batch normalisation",
            here="group normalisation without parameters",
            why="no layer may mix records; scales and shifts would get noise, and the next convolution can learn them",
        ),
        Replacement(
            paper="convolutions without padding: a volume of 132x132x116 gives a mask of 44x44x28 in its middle",
            here="padding, so that a mask is as large as its volume",
            why="what is outside of the volume is zero for every site alike; parameters are the same",
        ),
        Replacement(
            paper="softmax cross-entropy, weighted by the frequency of classes, 0 for voxels that nobody labelled",
            here="the task's loss, with class_weights of the terms and task.ignored for voxels that nobody labelled",
            why="frequencies counted over patients would have to be paid for",
        ),
        Replacement(
            paper="three volumes, of which many slices are labelled, each stretched and turned at random",
            here="all volumes of a patient are averaged into one gradient; augmentation is an option of the terms",
            why="the promise is made to patients",
        ),
        Replacement(
            paper="rectified linear units, 19 million parameters",
            here="the same in preset paper; two filters, three levels and ELU in preset small",
            why="noise grows with the number of parameters; gradients of smooth activations vary less in length, so "
            "that clipping changes them less",
        ),
    ),
)
