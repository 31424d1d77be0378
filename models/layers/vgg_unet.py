"""A U-Net whose encoder is the convolutions of a VGG: TernausNet-11 and TernausNet-16 are two of its forms.

A level has 3x3 convolutions, and halves its maps. Under the lowest one is the centre, a block of the decoder. Going up,
each block takes the maps below it and those of the encoder's level, side by side, and doubles height and width; the
finest one is a single 3x3 convolution. Widths are in units of F, a half of the first convolution's filters.

A block of the decoder is a 3x3 convolution and a transposed 4x4 one that doubles height and width.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import torch
from pydantic import Field
from torch import nn

from models.entry import Options
from models.layers.image_blocks import Activation, Norm, make_block, make_doubling_block
from models.layers.segmentation import shape_mask

HALVED: Final = 32
"""How much smaller the centre's maps are than the image."""


class VggUnetOptions(Options):
    """The options of a TernausNet.

    Attributes:
        filters: F; parameters grow with its square.
        norm: after each convolution.
        activation: after each convolution.
    """

    filters: int = Field(default=32, ge=1, le=128)
    norm: Norm = "none"
    activation: Activation = "relu"


class Widths(NamedTuple):
    """Filters, in units of F.

    Attributes:
        encoder: of each level's convolutions, the finest level first.
        decoder: middle and out of each block, the centre first; the finest level's convolution is not among them.
    """

    encoder: Sequence[Sequence[int]]
    decoder: Sequence[tuple[int, int]]


class VggUnet(nn.Module):
    """Encoder, centre, decoder, and a 1x1 convolution."""

    def __init__(
        self, options: VggUnetOptions, widths: Widths, channels: int, classes: int, outputs: tuple[int, ...]
    ) -> None:
        super().__init__()
        unit = options.filters
        self.encoder = nn.ModuleList()
        for level in widths.encoder:
            blocks = []
            for filters in level:
                blocks.append(make_block(channels, filters * unit, options.activation, options.norm))
                channels = filters * unit
            self.encoder.append(nn.Sequential(*blocks))
        self.pool = nn.MaxPool2d(2)
        (middle, below), *others = widths.decoder
        self.centre = _make_decoder_block(options, channels, middle * unit, below * unit)
        self.decoder = nn.ModuleList()
        *skips, finest = [level[-1] for level in reversed(widths.encoder)]
        for skip, (middle, out) in zip(skips, others, strict=True):
            self.decoder.append(_make_decoder_block(options, (below + skip) * unit, middle * unit, out * unit))
            below = out
        self.decoder.append(make_block((below + finest) * unit, unit, options.activation, options.norm))
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


def _make_decoder_block(options: VggUnetOptions, channels: int, middle: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        make_block(channels, middle, options.activation, options.norm),
        *make_doubling_block(middle, out, options.activation, options.norm),
    )
