"""A stacked autoencoder: layers down to a code and back, which restore the features from a copy with noise.

::

    noised   = features, some of them set to zero or all of them moved a little, in training
    code     = layers of the encoder; the last one is linear unless ``code`` says otherwise
    outputs  = the same layers in reverse order, and a linear layer back to the features

The task ``reconstruction`` says what the outputs are: values, or logits of values from 0 to 1. All layers are trained
together; layers that are trained one after the other, with a head for a task, are ``deep-patient``.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.heads import require_outputs_of_features
from models.layers.sigmoid import LinearBeforeSigmoid


class AutoencoderOptions(Options):
    """The options of ``autoencoder``.

    Attributes:
        hidden: widths of the encoder's layers, first to last; the last one is the code.
        activation: of all layers between features and code.
        code: ``linear``, or ``activated`` as the other layers.
        noise: ``mask`` sets features to zero, ``gauss`` adds normal noise.
        level: the part that is set to zero, or the noise's deviation.
    """

    hidden: tuple[Units, ...] = Field(default=(1000, 500, 250, 30), min_length=1, max_length=8)
    activation: Literal["sigmoid", "tanh", "elu"] = "sigmoid"
    code: Literal["linear", "activated"] = "linear"
    noise: Literal["none", "mask", "gauss"] = "none"
    level: float = Field(default=0.25, gt=0, lt=1)


class Autoencoder(nn.Module):
    """An encoder, a decoder of the same widths, and the noise that they learn to remove."""

    draws_randomly = True

    def __init__(self, options: AutoencoderOptions, features: int) -> None:
        super().__init__()
        widths = (features, *options.hidden)
        encoder = [layer for ends in pairwise(widths) for layer in make_layer(*ends, options.activation)]
        if options.code == "linear":
            encoder[-2:] = [nn.Linear(widths[-2], widths[-1])]
        back = widths[::-1]
        decoder = [layer for ends in pairwise(back[:-1]) for layer in make_layer(*ends, options.activation)]
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder, nn.Linear(back[-2], back[-1]))
        self._noise, self._level = options.noise, options.level

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return one number for each of ``features``, from a copy with noise in training; (records, features) both."""
        restored: torch.Tensor = self.decoder(self.encoder(self._add_noise(inputs["features"])))
        return restored

    def encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the code, without noise; (records, width of the code)."""
        code: torch.Tensor = self.encoder(inputs["features"])
        return code

    def _add_noise(self, features: torch.Tensor) -> torch.Tensor:
        if not self.training or self._noise == "none":
            return features
        if self._noise == "mask":
            return features * (torch.rand_like(features) >= self._level)
        return features + self._level * torch.randn_like(features)


def make_layer(inputs: int, width: int, activation: Literal["sigmoid", "tanh", "elu"]) -> list[nn.Module]:
    """Make a linear layer and its activation."""
    if activation == "sigmoid":
        return [LinearBeforeSigmoid(inputs, width), nn.Sigmoid()]
    return [nn.Linear(inputs, width), nn.Tanh() if activation == "tanh" else nn.ELU()]


def build(options: AutoencoderOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Autoencoder:
    """Build encoder and decoder.

    Raises:
        ModelError: the task asks for something else than one output a feature.
    """
    return Autoencoder(options, require_outputs_of_features("autoencoder", sizes, outputs))


MODEL: Final = ModelEntry(
    title="Stacked autoencoder, also denoising",
    domain="tabular",
    options=AutoencoderOptions,
    build=build,
    tasks=("reconstruction",),
    inputs=(Input("features", "number", ("features",), "the numbers of a record"),),
    citation="Hinton and Salakhutdinov 2006, Reducing the dimensionality of data with neural networks, Science "
    "313:504-507; noise: Vincent et al. 2010, Stacked denoising autoencoders, Journal of Machine Learning Research "
    "11:3371-3408",
    presets={
        "paper": AutoencoderOptions(),
        "denoising": AutoencoderOptions(hidden=(500,), code="activated", noise="mask"),
        "small": AutoencoderOptions(hidden=(8,), activation="tanh", code="activated", noise="mask", level=0.1),
    },
    # 784 pixels, as in both papers
    counts=(
        Count("paper", {"features": 784}, (784,), 2_837_314),
        Count("denoising", {"features": 784}, (784,), 785_284),
        Count("small", {"features": 20}, (20,), 348),
    ),
    example={"features": 20},
    replaced=(
        Replacement(
            paper="first values from Boltzmann machines, or autoencoders, that are trained one after the other",
            here="random first values, sigmoid layers four times as wide as others; all layers together",
            why="steps of each layer's training would be paid as those of all layers are",
        ),
        Replacement(
            paper="the cross-entropy summed over the features",
            here="the task's mean over them",
            why="then the clipping norm does not depend on the number of features",
        ),
    ),
)
