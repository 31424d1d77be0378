"""A convolutional network with a noise layer, whose predictions can be certified against changes of the image.

A *patient* here is whose images they are, and epsilon of the study protects them as with any other model. The noise
layer protects no patient: ``attack_epsilon`` and ``attack_delta`` say how much of a bounded change of the image may
reach the prediction. ``consilium-site predict --certify`` computes what is certified of an image.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.bounded_noise import AddedNoise, BoundedConvolution, compute_deviation
from models.layers.heads import count_outputs, shape_outputs
from models.layers.image_blocks import Activation, Norm, make_activation, make_block, require_sides

_NAME: Final = "pixeldp-cnn"
_SIZE, _STRIDE = 4, 2  # of the bounded convolution


class PixelDpOptions(Options):
    """The options of ``pixeldp-cnn``.

    Attributes:
        filters: of the convolutions, first to last; the first one has the bounded sensitivity.
        noise: where it is added: to the ``input``, or behind the first ``convolution``.
        attack_size: L, the L2 size of a change of the image that the noise is made for, in units of the model's input.
        attack_epsilon: of the prediction, against changes of that size.
        attack_delta: likewise.
        norm: after each further convolution.
        activation: after each convolution.
    """

    filters: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(default=(32, 64), min_length=1, max_length=6)
    noise: Literal["input", "convolution"] = "convolution"
    attack_size: float = Field(default=0.1, gt=0, le=100)
    attack_epsilon: float = Field(default=1.0, gt=0, le=1)
    attack_delta: float = Field(default=0.05, gt=0, le=0.5)
    norm: Norm = "none"
    activation: Activation = "relu"


class PixelDpCnn(nn.Module):
    """A convolution and noise, further convolutions, the mean of each map, and a linear layer."""

    def __init__(self, options: PixelDpOptions, channels: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        noise = AddedNoise(compute_deviation(options.attack_size, options.attack_epsilon, options.attack_delta))
        first = BoundedConvolution(channels, options.filters[0], _SIZE, _STRIDE)
        before = [noise, first] if options.noise == "input" else [first, noise]
        blocks: list[nn.Module] = [*before, make_activation(options.activation)]
        for ends in pairwise(options.filters):
            blocks += [make_block(*ends, options.activation, options.norm), nn.MaxPool2d(2)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(options.filters[-1], count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``image`` (records, channels, height, width); (records, *outputs)."""
        return shape_outputs(self.head(self.blocks(inputs["image"]).mean((2, 3))), self._outputs)


def build(options: PixelDpOptions, sizes: Sizes, outputs: tuple[int, ...]) -> PixelDpCnn:
    """Build the network for images of ``sizes``.

    Raises:
        ModelError: the images are too small for so many convolutions.
    """
    least = _STRIDE * 2 ** (len(options.filters) - 1)
    require_sides(f"'{_NAME}' with {len(options.filters)} filters", sizes, least, "write fewer filters")
    return PixelDpCnn(options, sizes["channels"], outputs)


def _count(filters: tuple[int, ...], channels: int, outputs: int) -> int:
    first = filters[0] * channels * _SIZE**2
    return first + sum(9 * a * b + b for a, b in pairwise(filters)) + (filters[-1] + 1) * outputs


MODEL: Final = ModelEntry(
    title="Convolutional network with certified predictions (PixelDP)",
    domain="imaging",
    options=PixelDpOptions,
    build=build,
    tasks=("binary", "multiclass"),
    inputs=(Input("image", "number", ("channels", "height", "width"), "an image"),),
    citation="Lecuyer, Atlidakis, Geambasu, Hsu and Jana 2019, Certified robustness to adversarial examples with "
    "differential privacy, IEEE Symposium on Security and Privacy, arXiv 1802.03471",
    repository="https://github.com/columbia/pixeldp",
    presets={
        "paper": PixelDpOptions(),
        "input": PixelDpOptions(noise="input", filters=(16, 32), activation="elu"),
        "small": PixelDpOptions(filters=(8, 16), attack_size=0.02, activation="tanh"),
    },
    counts=(
        Count("paper", {"channels": 1, "height": 28, "width": 28}, (10,), _count((32, 64), 1, 10)),
        Count("input", {"channels": 1, "height": 28, "width": 28}, (), _count((16, 32), 1, 1)),
        Count("small", {"channels": 1, "height": 8, "width": 8}, (), _count((8, 16), 1, 1)),
    ),
    example={"channels": 1, "height": 8, "width": 8},
    rate=2.0,
    replaced=(
        Replacement(
            paper="residual networks, Inception behind an autoencoder with noise",
            here="a small convolutional network behind a bounded convolution",
            why="per-patient gradients of large networks are slow; the certificate does not depend on what follows the "
            "noise",
        ),
        Replacement(
            paper="the kernel is pushed towards a tight frame by a step between gradient steps (Parseval networks)",
            here="it is divided by a bound of its norm in every pass",
            why="a bound that holds always, not only after enough such steps; clipped and noised gradients would push "
            "it off again",
        ),
        Replacement(
            paper="batch normalisation",
            here="none, or group normalisation",
            why="no layer may mix records",
        ),
    ),
)
