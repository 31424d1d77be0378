"""Crops of a histology image through one encoder, joined by a generalised mean, and a linear layer.

================  =============================================================================================
step              what it does
================  =============================================================================================
crops             K windows of the image: drawn in training, else the same ones, in a regular grid
encoder           stages of 3x3 convolutions as in VGG, each followed by the maximum of 2x2 pixels
descriptor        of a crop: the mean of each map of the stages that are read, before their pooling, side by side
generalised mean  of a number over the crops: the p-th root of the mean of its p-th powers; p = 3
head              a linear layer on the descriptor of the image
================  =============================================================================================

With p = 1 it is the mean, and with p that grows the maximum: what a single crop shows counts the more, the larger p.
The encoder is VGG16's, so that public weights of it fit (``model.start``); ``model.frozen`` leaves them as they are.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import torch
from pydantic import Field, model_validator
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs
from models.layers.image_blocks import Norm, make_block

_NAME: Final = "histology-crops"
_LEAST: Final = 1e-6  # of a descriptor's number, because the root has no gradient at zero

Filters = Annotated[int, Field(ge=1, le=1024)]
Stage = Annotated[tuple[Filters, ...], Field(min_length=1, max_length=8)]


class HistologyCropsOptions(Options):
    """The options of ``histology-crops``.

    Attributes:
        stages: filters of the convolutions of each stage, first to last.
        read: how many of the last stages are read.
        crops: K, of each image.
        crop: height and width of a crop, as a part of the image's.
        power: p, of the generalised mean.
        norm: after each convolution.
        dropout: the share of the image's descriptor that is dropped in training.
    """

    stages: tuple[Stage, ...] = Field(
        default=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
        min_length=1,
        max_length=6,
    )
    read: int = Field(default=4, ge=1, le=6)
    crops: int = Field(default=20, ge=1, le=64)
    crop: float = Field(default=0.5, gt=0, le=1)
    power: float = Field(default=3.0, ge=1, le=16)
    norm: Norm = "none"
    dropout: float = Field(default=0.0, ge=0, le=0.9)

    @model_validator(mode="after")
    def _stages_to_read(self) -> "HistologyCropsOptions":
        if self.read > len(self.stages):
            raise ValueError(f"read: expected at most {len(self.stages)}, as many as there are stages")
        return self


class Crops(nn.Module):
    """Windows of an image: drawn anew for every record in training, else in a grid over the whole image.

    Args:
        count: of each image.
        height: of a crop, in pixels.
        width: likewise.
    """

    draws_randomly = True

    def __init__(self, count: int, height: int, width: int) -> None:
        super().__init__()
        self._count, self._height, self._width = count, height, width

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Cut ``image`` (records, channels, height, width); (records * count, channels, height, width of a crop)."""
        records, channels = image.shape[:2]
        tops = self._choose_places(image, image.shape[2] - self._height, axis=0)  # (records, count)
        lefts = self._choose_places(image, image.shape[3] - self._width, axis=1)
        rows = tops[..., None] + torch.arange(self._height, device=image.device)  # (records, count, height)
        columns = lefts[..., None] + torch.arange(self._width, device=image.device)
        places = rows[..., None] * image.shape[3] + columns[:, :, None]  # (records, count, height, width)
        flat = places.reshape(records, 1, -1).expand(-1, channels, -1)
        found = image.flatten(2).gather(2, flat).reshape(records, channels, self._count, self._height, self._width)
        return found.transpose(1, 2).flatten(0, 1)

    def _choose_places(self, image: torch.Tensor, room: int, axis: int) -> torch.Tensor:
        """Choose where crops begin on an axis on which they have ``room``; (records, count)."""
        if self.training:
            return torch.randint(room + 1, (image.shape[0], self._count), device=image.device)
        return list_grid_places(self._count, room, axis).to(image.device).expand(image.shape[0], -1)


def list_grid_places(count: int, room: int, axis: int) -> torch.Tensor:
    """List where ``count`` crops in a grid begin on an axis with ``room`` pixels; (count,).

    The grid has as many columns as rows, or one more; its last row may be short.

    >>> list_grid_places(5, 10, axis=0), list_grid_places(5, 10, axis=1)
    (tensor([ 0,  0,  0, 10, 10]), tensor([ 0,  5, 10,  0,  5]))
    """
    columns = next(each for each in range(1, count + 1) if each * each >= count)
    rows = -(-count // columns)
    numbers = torch.arange(count)
    place, places = (numbers // columns, rows) if axis == 0 else (numbers % columns, columns)
    if places == 1:
        return torch.full((count,), room // 2)
    return place * room // (places - 1)


class HistologyCrops(nn.Module):
    """Crops, an encoder, the generalised mean of its descriptors, and a linear layer."""

    def __init__(self, options: HistologyCropsOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.crops = Crops(options.crops, *(_measure_crop(options, sizes[axis]) for axis in ("height", "width")))
        stages: list[nn.Module] = []
        channels = sizes["channels"]
        for stage in options.stages:
            layers: list[nn.Module] = []
            for filters in stage:
                layers.append(make_block(channels, filters, "relu", options.norm))
                channels = filters
            stages.append(nn.Sequential(*layers))
        self.encoder = nn.ModuleList(stages)
        self.pool = nn.MaxPool2d(2)
        self._read = options.read
        self._crops, self._power = options.crops, options.power
        width = sum(stage[-1] for stage in options.stages[-options.read :])
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(width, count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``image`` (records, channels, height, width); (records, *outputs)."""
        image = inputs["image"]
        descriptors = self.describe(self.crops(image)).reshape(image.shape[0], self._crops, -1)
        joined = generalised_mean(descriptors, self._power)  # (records, width)
        return shape_outputs(self.head(self.dropout(joined)), self._outputs)

    def describe(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the descriptor of each crop, (crops, channels, height, width); (crops, width), all at least 0."""
        means, maps = [], crops
        for number, stage in enumerate(self.encoder):
            maps = stage(self.pool(maps) if number else maps)
            if number >= len(self.encoder) - self._read:
                means.append(maps.mean((2, 3)))
        return torch.cat(means, dim=1)


def generalised_mean(descriptors: torch.Tensor, power: float) -> torch.Tensor:
    """Join descriptors of crops, (records, crops, width), numbers of at least 0; (records, width)."""
    return descriptors.clamp(min=_LEAST).pow(power).mean(1).pow(1 / power)


def build(options: HistologyCropsOptions, sizes: Sizes, outputs: tuple[int, ...]) -> HistologyCrops:
    """Build the network for images of ``sizes``.

    Raises:
        ModelError: a crop cannot be halved after every stage but the last.
    """
    least = 2 ** (len(options.stages) - 1)
    for axis in ("height", "width"):
        if (crop := _measure_crop(options, sizes[axis])) < least:
            raise ModelError(
                f"the model '{_NAME}' with {len(options.stages)} stages expects crops with a {axis} of at least "
                f"{least}, got {crop}; write fewer stages or larger crops, or take larger images"
            )
    return HistologyCrops(options, sizes, outputs)


def _measure_crop(options: HistologyCropsOptions, length: int) -> int:
    return max(1, round(options.crop * length))


MODEL: Final = ModelEntry(
    title="Crops of histology images, joined by a generalised mean",
    domain="imaging",
    rate=0.5,
    options=HistologyCropsOptions,
    build=build,
    tasks=("multiclass", "binary"),
    inputs=(Input("image", "number", ("channels", "height", "width"), "an image of stained tissue"),),
    citation="Rakhlin, Shvets, Iglovikov and Kalinin 2018, Deep convolutional neural networks for breast cancer "
    "histology image analysis, International Conference on Image Analysis and Recognition, arXiv 1802.00752",
    repository="https://github.com/alexander-rakhlin/ICIAR2018",
    presets={
        "paper": HistologyCropsOptions(),
        "small": HistologyCropsOptions(stages=((4,), (8,)), read=2, crops=4, norm="group"),
    },
    # VGG16's convolutions have 14,714,688; a head of four classes on its 1,408 numbers, alone, 5,636
    counts=(
        Count("paper", {"channels": 3, "height": 400, "width": 400}, (4,), 14_720_324),
        Count("small", {"channels": 3, "height": 16, "width": 16}, (), 445),
    ),
    example={"channels": 3, "height": 16, "width": 16},
    figures="Without privacy, an ensemble of three encoders reports an accuracy of 87.2 % over four classes, and of "
    "93.8 % with an AUROC of 0.973 for carcinoma or not (Rakhlin et al. 2018).",
    replaced=(
        Replacement(
            paper="gradient-boosted trees on the descriptors of frozen encoders",
            here="a linear layer, alone (model.trained: [head], on public weights of the encoder) or with the encoder",
            why="a tree's splits are no sum over patients, so that no patient's part in them can be bounded by "
            "clipping",
        ),
        Replacement(
            paper="encoders of ImageNet: ResNet-50, Inception-v3 and VGG16",
            here="VGG16's form, from random first values or a public file that model.start names",
            why="the other two have batch normalisation, which mixes patients; no weights are distributed with this "
            "program",
        ),
        Replacement(
            paper="an ensemble of encoders, sizes of crops, seeds and folds",
            here="one network",
            why="every further network is paid from the same budget",
        ),
        Replacement(
            paper="each image is an example",
            here="all images of a patient are averaged into one gradient; data.records_per_patient says how many",
            why="the promise is made to patients, some of whom have several images",
        ),
        Replacement(
            paper="stains made alike, then varied fifty times in each image",
            here="the augmentation step stain, drawn anew in every step; images are made alike before, if at all",
            why="both look at one image alone, so that neither is paid for; this is not for privacy",
        ),
        Replacement(
            paper="512 filters",
            here="the same in preset paper; few filters and group normalisation in preset small",
            why="noise grows with the number of parameters",
        ),
    ),
)
