"""A network for the texture of lung patches in CT: 2x2 convolutions, one mean of each map, a perceptron.

Layer l of n has k (l + 1)^2 filters; for k = 4: 16, 36, 64, 100, 144. Each takes one pixel of height and width, so that
a patch of 32 pixels ends as maps of 27, whose means describe the texture wherever it is in the patch.
"""

from collections.abc import Mapping
from typing import Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.heads import count_outputs, shape_outputs
from models.layers.image_blocks import require_sides

_NAME: Final = "lung-pattern-cnn"
_SLOPE: Final = 0.3  # of the leaky rectifier below zero


class LungPatternOptions(Options):
    """The options of ``lung-pattern-cnn``.

    Attributes:
        filters: k; layer l has k (l + 1)^2 filters.
        convolutions: how many layers of 2x2 convolutions.
        hidden: units of the layers after the means, first to last.
        activation: of the convolutions; the hidden layers have it too, or the plain rectifier instead of the leaky one.
        dropout: the share that is dropped before every linear layer in training.
    """

    filters: int = Field(default=4, ge=1, le=16)
    convolutions: int = Field(default=5, ge=1, le=8)
    hidden: tuple[Units, ...] = Field(default=(864, 288), max_length=4)
    activation: Literal["leaky_relu", "elu", "tanh"] = "leaky_relu"
    dropout: float = Field(default=0.5, ge=0, le=0.9)


class LungPatternCnn(nn.Module):
    """Convolutions, the mean of each map, and a perceptron."""

    def __init__(self, options: LungPatternOptions, channels: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for place in range(1, options.convolutions + 1):
            filters = options.filters * (place + 1) ** 2
            blocks += [nn.Conv2d(channels, filters, 2), _make_activation(options)]
            channels = filters
        self.blocks = nn.Sequential(*blocks)
        layers: list[nn.Module] = []
        for units in options.hidden:
            layers += [
                nn.Dropout(options.dropout),
                nn.Linear(channels, units),
                _make_activation(options, hidden=True),
            ]
            channels = units
        self.layers = nn.Sequential(
            *layers, nn.Dropout(options.dropout), nn.Linear(channels, count_outputs(outputs))
        )
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``image`` (records, channels, height, width), a patch; (records, *outputs)."""
        means = self.blocks(inputs["image"]).mean((2, 3))  # (records, filters of the last convolution)
        return shape_outputs(self.layers(means), self._outputs)


def build(options: LungPatternOptions, sizes: Sizes, outputs: tuple[int, ...]) -> LungPatternCnn:
    """Build the network for patches of ``sizes``.

    Raises:
        ModelError: the convolutions would leave nothing of the patch.
    """
    least = options.convolutions + 1
    require_sides(
        f"the model '{_NAME}' with {options.convolutions} convolutions",
        sizes,
        least,
        "write fewer convolutions, or take larger patches",
    )
    return LungPatternCnn(options, sizes["channels"], outputs)


def _make_activation(options: LungPatternOptions, hidden: bool = False) -> nn.Module:
    if options.activation == "leaky_relu":
        return nn.ReLU() if hidden else nn.LeakyReLU(_SLOPE)
    return nn.ELU() if options.activation == "elu" else nn.Tanh()


MODEL: Final = ModelEntry(
    title="Convolutional network for lung patterns",
    domain="imaging",
    rate=0.5,
    options=LungPatternOptions,
    build=build,
    tasks=("multiclass", "binary"),
    inputs=(Input("image", "number", ("channels", "height", "width"), "a patch of a CT slice"),),
    citation="Anthimopoulos, Christodoulidis, Ebner, Christe and Mougiakakou 2016, Lung pattern classification for "
    "interstitial lung diseases using a deep convolutional neural network, IEEE Transactions on Medical Imaging "
    "35(5):1207-1216",
    repository="https://github.com/intact-project/ild-cnn",
    presets={
        "paper": LungPatternOptions(),
        "small": LungPatternOptions(filters=2, convolutions=3, hidden=(), activation="tanh", dropout=0.0),
    },
    counts=(
        Count("paper", {"channels": 1, "height": 32, "width": 32}, (7,), 471_567),
        Count("small", {"channels": 1, "height": 32, "width": 32}, (7,), 3_201),
    ),
    example={"channels": 1, "height": 32, "width": 32},
    figures="Without privacy, the paper reports a classification performance of about 85.5 % over seven classes, with "
    "14,696 patches of 120 CT scans (Anthimopoulos et al. 2016).",
    replaced=(
        Replacement(
            paper="every patch is an example: 14,696 of 120 scans",
            here="all patches of a patient are averaged into one gradient; data.records_per_patient says how many",
            why="the promise is made to patients; 120 patients are far fewer examples than their patches, so expect a "
            "lower figure",
        ),
        Replacement(
            paper="training until the F-score of validation patches has not risen for 200 epochs",
            here="a fixed number of rounds, or paid evaluations with evaluation.patience",
            why="a stop that patients decide is a released figure of them",
        ),
        Replacement(
            paper="orthogonal first filters",
            here="uniform first values, drawn from the digest of the terms",
            why="all sites must begin with the same bits on every machine",
        ),
        Replacement(
            paper="leaky rectifiers and half a million parameters",
            here="the same in preset paper; few filters, tanh and no hidden layer in preset small",
            why="noise grows with the number of parameters, and bounded activations keep gradients short (Papernot et "
            "al. 2021, Tempered sigmoid activations)",
        ),
    ),
)
