"""The left ventricle on cardiac MR: a convolutional network finds where it is, an autoencoder which shape it has.

=============  ==================================================================  ================================
objective      what is trained                                                     labels
=============  ==================================================================  ================================
``filters``    the convolution, as the encoder of patches of the image             none
``location``   the network that outlines the ventricle on a coarse image           the mask
``layer-k``    the k-th encoder of shapes, on the region that the network found    none
``task``       the encoders of shapes, and a last layer that draws the mask        the mask
=============  ==================================================================  ================================

The network sees the image at ``coarse_side`` pixels: convolution, sigmoid, mean pooling, and a linear layer that gives
``place_side`` x ``place_side`` logits. The centre of mass of their odds is the middle of a square of ``region`` pixels,
which the autoencoder sees at ``shape_side`` pixels. What is outside of the square is background.

The paper's third step draws the outline into the edges of the image, with the mask as its prior (a level set). It has
nothing that is trained, and a hospital does it with what was released: ``consilium-site predict --refine``.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.segmentation import count_classes, shape_mask
from models.layers.sigmoid import ConvolutionBeforeSigmoid, LinearBeforeSigmoid
from models.layers.sparsity import compute_sparse_losses

_NAME: Final = "lv-segmentation"
LAYERS: Final = 2
"""The most layers of the stack, which are the paper's."""
_LAYERS: Final = tuple(f"layer-{place + 1}" for place in range(LAYERS))
_OUTSIDE: Final = -6.0  # the logit of every pixel outside of the region: a probability of 0.2 %


class LvSegmentationOptions(Options):
    """The options of ``lv-segmentation``.

    Attributes:
        coarse_side: pixels of the image that the network sees, in height and width; they divide the image's.
        filters: of the convolution.
        kernel: its height and width.
        pool: the mean of so many by so many answers is taken.
        place_side: of the network's outline.
        region: pixels of the image around the ventricle, in height and width.
        shape_side: pixels at which the autoencoder sees the region.
        hidden: units of the autoencoder's layers, lowest first.
        patches: of each image, for the objective ``filters``.
        sparsity: how active a unit should be on average.
        sparsity_weight: of the penalty on other means; 0 for none.
    """

    coarse_side: int = Field(default=64, ge=4, le=512)
    filters: int = Field(default=100, ge=1, le=1024)
    kernel: int = Field(default=11, ge=1, le=63)
    pool: int = Field(default=6, ge=1, le=64)
    place_side: int = Field(default=32, ge=2, le=256)
    region: int = Field(default=100, ge=4, le=512)
    shape_side: int = Field(default=64, ge=4, le=256)
    hidden: tuple[Units, ...] = Field(default=(100, 100), min_length=1, max_length=LAYERS)
    patches: int = Field(default=16, ge=1, le=1024)
    sparsity: float = Field(default=0.1, gt=0, lt=1)
    sparsity_weight: float = Field(default=3.0, ge=0, le=100)


class Localiser(nn.Module):
    """A convolution, mean pooling and a linear layer; and a decoder of patches, from which the convolution learns."""

    def __init__(self, options: LvSegmentationOptions) -> None:
        super().__init__()
        pooled = (options.coarse_side - options.kernel + 1) // options.pool
        self.filters = ConvolutionBeforeSigmoid(1, options.filters, options.kernel)
        self.decoder = nn.Linear(options.filters, options.kernel**2)
        self.pool = nn.AvgPool2d(options.pool)
        self.place = nn.Linear(options.filters * pooled**2, options.place_side**2)
        self._options = options

    def forward(self, coarse: torch.Tensor) -> torch.Tensor:
        """Return logits of the ventricle on ``coarse`` (records, 1, side, side); (records, place, place)."""
        maps = self.pool(torch.sigmoid(self.filters(coarse)))
        side = self._options.place_side
        return shape_mask(self.place(maps.flatten(1)), (side, side))

    def compute_patch_losses(self, coarse: torch.Tensor) -> torch.Tensor:
        """Compute how well patches of ``coarse`` (records, 1, side, side) are restored from the filters; (records,).

        In training patches are drawn anew; otherwise they lie on a line, so that the loss is not random.
        """
        options = self._options
        patches = _cut(
            coarse[:, 0], *self._draw_corners(coarse), options.kernel
        )  # (records, patches, kernel, kernel)
        # the rows of a record lie next to each other
        codes = torch.sigmoid(self.filters(patches.flatten(0, 1)[:, None]))
        codes = codes.reshape(patches.shape[0], options.patches, options.filters)
        return compute_sparse_losses(
            patches.flatten(2), self.decoder(codes), codes.mean(1), options.sparsity, options.sparsity_weight
        )

    def _draw_corners(self, coarse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw the first rows and columns of patches, (records, patches) each."""
        places = self._options.coarse_side - self._options.kernel + 1
        shape = (coarse.shape[0], self._options.patches)
        if self.training:
            rows, columns = (torch.rand(2, *shape, device=coarse.device) * places).long().unbind(0)
            return rows, columns
        steps = torch.linspace(0, places - 1, self._options.patches, device=coarse.device).long().expand(shape)
        return steps, steps.flip(1)


class ShapeAutoencoder(nn.Module):
    """Stacked encoders, a decoder beside each for its own training, and a last layer that draws the mask."""

    def __init__(self, options: LvSegmentationOptions) -> None:
        super().__init__()
        pixels = options.shape_side**2
        widths = (pixels, *options.hidden)
        self.encoders = nn.ModuleList(LinearBeforeSigmoid(below, units) for below, units in pairwise(widths))
        self.decoders = nn.ModuleList(nn.Linear(units, below) for below, units in pairwise(widths))
        self.output = nn.Linear(widths[-1], pixels)
        self._options = options

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the logits of a mask for ``pixels`` (records, pixels) of the region; likewise."""
        logits: torch.Tensor = self.output(self.encode(pixels, len(self.encoders)))
        return logits

    def compute_layer_losses(self, pixels: torch.Tensor, place: int) -> torch.Tensor:
        """Compute how well the layer ``place`` is restored from what it gives; (records,)."""
        below = self.encode(pixels, place).detach()  # the layers below are not trained again
        codes = torch.sigmoid(self.encoders[place](below))
        means = codes.mean(1, keepdim=True)
        return compute_sparse_losses(
            below, self.decoders[place](codes), means, self._options.sparsity, self._options.sparsity_weight
        )

    def encode(self, values: torch.Tensor, layers: int) -> torch.Tensor:
        """Encode ``values`` (records, pixels) by the lowest ``layers`` layers; (records, units)."""
        for encoder in list(self.encoders)[:layers]:
            values = torch.sigmoid(encoder(values))
        return values


class LvSegmentation(nn.Module):
    """The network that finds the region, and the autoencoder that draws the mask in it."""

    objective: str = "task"
    draws_randomly = True

    def __init__(self, options: LvSegmentationOptions, side: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.localiser = Localiser(options)
        self.shape = ShapeAutoencoder(options)
        self._options, self._side, self._outputs = options, side, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return logits for every pixel of ``image`` (records, 1, height, width), or the objective's own loss."""
        image = inputs["image"]
        coarse = functional.avg_pool2d(image, self._side // self._options.coarse_side)
        if self.objective == "filters":
            return {"own_loss": self.localiser.compute_patch_losses(coarse)}
        if self.objective == "location":
            logits = functional.interpolate(
                self.localiser(coarse)[:, None], (self._side, self._side), mode="bilinear"
            )
            return shape_mask(logits, self._outputs)
        with torch.no_grad():  # the corner is a whole number, through which no gradient flows
            rows, columns = self._find_corners(self.localiser(coarse))
        pixels = self._cut_region(image, rows, columns)
        if self.objective == "task":
            return shape_mask(self._paste(self.shape(pixels), rows, columns), self._outputs)
        place = _LAYERS.index(self.objective)
        if place >= len(self.shape.encoders):
            raise ModelError(f"objective {self.objective}: the model has {len(self.shape.encoders)} layers")
        return {"own_loss": self.shape.compute_layer_losses(pixels, place)}

    def _find_corners(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Find the first row and column of the region from ``logits`` (records, place, place); (records,) each."""
        side, place = self._side, logits.shape[1]
        odds = logits.flatten(1).softmax(1).view_as(logits)
        middles = (torch.arange(place, device=logits.device) + 0.5) * (side / place)
        corners = [((odds.sum(axis) * middles).sum(1) - self._options.region / 2).round().long() for axis in (2, 1)]
        last = side - self._options.region
        return corners[0].clamp(0, last), corners[1].clamp(0, last)

    def _cut_region(self, image: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Cut the region out of ``image`` (records, 1, height, width) and shrink it; (records, pixels)."""
        region = _cut(image[:, 0], rows[:, None], columns[:, None], self._options.region)
        return self._resize(region, self._options.shape_side).flatten(1)

    def _paste(self, logits: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Put ``logits`` (records, pixels) of the region into the image; (records, height, width)."""
        shape, region = self._options.shape_side, self._options.region
        inside = self._resize(logits.reshape(-1, 1, shape, shape), region)[:, 0]
        places = torch.arange(self._side, device=logits.device)
        row, column = places - rows[:, None], places - columns[:, None]  # (records, side), in the region's pixels
        known = ((row >= 0) & (row < region))[:, :, None] & ((column >= 0) & (column < region))[:, None]
        row, column = (each.clamp(0, region - 1) for each in (row, column))
        tall = inside.gather(1, row[:, :, None].expand(-1, -1, region))
        whole = tall.gather(2, column[:, None].expand(-1, self._side, -1))
        return torch.where(known, whole, _OUTSIDE)

    def _resize(self, maps: torch.Tensor, side: int) -> torch.Tensor:
        return maps if maps.shape[2] == side else functional.interpolate(maps, (side, side), mode="bilinear")


def _cut(image: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, side: int) -> torch.Tensor:
    """Cut squares out of ``image`` (records, height, width), from corners (records, squares).

    Returns:
        (records, squares, side, side).
    """
    steps = torch.arange(side, device=image.device)
    row, column = rows[:, :, None] + steps, columns[:, :, None] + steps  # (records, squares, side)
    places = row[:, :, :, None] * image.shape[2] + column[:, :, None]  # (records, squares, side, side)
    return image.flatten(1).gather(1, places.flatten(1)).view(places.shape)


def build(options: LvSegmentationOptions, sizes: Sizes, outputs: tuple[int, ...]) -> LvSegmentation:
    """Build the model for square images of one channel; it gives a mask as large as its image.

    Raises:
        ModelError: the image is not square, has several channels or does not suit the options; or the outputs are no
            mask of one structure.
    """
    if count_classes(_NAME, sizes, outputs) > 1:
        raise ModelError(
            f"the model '{_NAME}' outlines one structure: expected flags as the mask, got {outputs[0]} classes"
        )
    side = sizes["height"]
    if sizes["width"] != side or sizes["channels"] != 1:
        raise ModelError(
            f"the model '{_NAME}' expects square images of one channel, got {sizes['channels']}x{side}x{sizes['width']}"
        )
    if side % options.coarse_side or options.region > side:
        raise ModelError(
            f"the model '{_NAME}' expects images of a multiple of coarse_side, {options.coarse_side} pixels, that are "
            f"no smaller than region, {options.region}, got {side}"
        )
    if options.coarse_side - options.kernel + 1 < options.pool:
        raise ModelError(
            f"the model '{_NAME}' expects at least {options.kernel + options.pool - 1} pixels of coarse_side for its "
            f"kernel and pool, got {options.coarse_side}"
        )
    return LvSegmentation(options, side, outputs)


MODEL: Final = ModelEntry(
    title="Left ventricle: localising network and shape autoencoder",
    domain="imaging",
    options=LvSegmentationOptions,
    build=build,
    tasks=("segmentation",),
    inputs=(Input("image", "number", ("channels", "height", "width"), "a square image of one channel"),),
    citation="Avendi, Kheradvar and Jafarkhani 2016, A combined deep-learning and deformable-model approach to fully "
    "automatic segmentation of the left ventricle in cardiac MRI, Medical Image Analysis 30:108-119, arXiv:1512.07951",
    presets={
        "paper": LvSegmentationOptions(),
        "small": LvSegmentationOptions(
            coarse_side=16, filters=4, kernel=5, pool=4, place_side=8, region=24, shape_side=12, hidden=(16,)
        ),
    },
    # of the paper: 8,307,624 in the network and 833,496 in the autoencoder; 436,017 in the decoders that only
    # pre-training uses
    counts=(
        Count("paper", {"channels": 1, "height": 256, "width": 256}, (256, 256), 9_577_137),
        Count("small", {"channels": 1, "height": 32, "width": 32}, (32, 32), 9_813),
    ),
    rate=5.0,
    example={"channels": 1, "height": 32, "width": 32},
    objectives={
        "filters": ("localiser.filters", "localiser.decoder"),
        "location": ("localiser.filters", "localiser.place"),
        **{name: (f"shape.encoders.{place}", f"shape.decoders.{place}") for place, name in enumerate(_LAYERS)},
    },
    task_layers=(*(f"shape.encoders.{place}" for place in range(LAYERS)), "shape.output"),
    figures="Without privacy, on the 30 test cases of the MICCAI 2009 challenge, the paper reports a Dice of 0.94 with "
    "the deformable model (Avendi et al. 2016).",
    replaced=(
        Replacement(
            paper="a deformable model that draws the outline into the edges of the image",
            here="the same at a site, after the study: consilium-site predict --refine",
            why="it trains nothing, looks at one image, and costs no privacy",
        ),
        Replacement(
            paper="a penalty on the mean activation over all patches of all patients",
            here="the same on the mean over one image",
            why="a mean over patients joins them, so that no patient's share of the gradient could be bounded",
        ),
        Replacement(
            paper="the network learns a square around the ventricle",
            here="it learns the ventricle's outline on a coarse grid; the middle of the square is its centre of mass",
            why="the mask is the target that the study has; this is not for privacy",
        ),
        Replacement(
            paper="masks learned from patches by squared error, with weight decay",
            here="the task's loss on the whole image",
            why="the task's loss is one for all segmentation models; training.weight_decay is an option of the terms",
        ),
        Replacement(
            paper="9 million parameters",
            here="the same in preset paper; few filters and units on coarser images in preset small",
            why="noise grows with the number of parameters",
        ),
    ),
)
