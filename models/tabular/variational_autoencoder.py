"""A variational autoencoder: a code with a distribution, from which the features are restored.

::

    mean, log variance = linear layers on a layer of the features
    code               = mean + exp(log variance / 2) * standard normal noise, in training; the mean otherwise
    outputs            = a linear layer on a layer of the code
    divergence         = sum over the code of (mean^2 + variance - 1 - log variance) / 2, from the standard normal

The loss of a record is minus the evidence's lower bound, divided by the number of features: the task's mean
cross-entropy, or squared error, and the divergence over the features as the own loss. Both are of one record, and its
noise is drawn from the round's secret stream, so clipping and noise apply as to any other loss.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.gaussian_code import bound_log_variance, compute_divergence, draw_code
from models.layers.heads import require_outputs_of_features
from models.tabular.autoencoder import make_layer


class VariationalAutoencoderOptions(Options):
    """The options of ``variational-autoencoder``.

    Attributes:
        hidden: widths of the encoder's layers, first to last; the decoder has them in reverse order.
        code: numbers of the code.
        activation: of these layers.
        divergence: the weight of the divergence; 1 is the lower bound of the evidence.
    """

    hidden: tuple[Units, ...] = Field(default=(500,), min_length=1, max_length=8)
    code: int = Field(default=20, ge=1, le=4096)
    activation: Literal["sigmoid", "tanh", "elu"] = "tanh"
    divergence: float = Field(default=1.0, gt=0, le=1000)


class VariationalAutoencoder(nn.Module):
    """An encoder, two layers for the code's distribution, and a decoder."""

    draws_randomly = True

    def __init__(self, options: VariationalAutoencoderOptions, features: int) -> None:
        super().__init__()
        self.encoder = _make_layers((features, *options.hidden), options)
        self.mean = nn.Linear(options.hidden[-1], options.code)
        self.log_variance = nn.Linear(options.hidden[-1], options.code)
        back = (options.code, *options.hidden[::-1])
        self.decoder = nn.Sequential(_make_layers(back, options), nn.Linear(back[-1], features))
        self._weight = options.divergence / features

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``outputs``, a number for each feature, (records, features), and the divergence, (records,)."""
        layer = self.encoder(inputs["features"])
        mean = self.mean(layer)
        log_variance = bound_log_variance(self.log_variance(layer))
        code = draw_code(mean, log_variance) if self.training else mean
        return {
            "outputs": self.decoder(code),
            "own_loss": self._weight * compute_divergence(mean, log_variance),
        }

    def encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean of the code; (records, code)."""
        mean: torch.Tensor = self.mean(self.encoder(inputs["features"]))
        return mean


def _make_layers(widths: tuple[int, ...], options: VariationalAutoencoderOptions) -> nn.Sequential:
    return nn.Sequential(
        *(layer for below, width in pairwise(widths) for layer in make_layer(below, width, options.activation))
    )


def build(options: VariationalAutoencoderOptions, sizes: Sizes, outputs: tuple[int, ...]) -> VariationalAutoencoder:
    """Build encoder and decoder.

    Raises:
        ModelError: the task asks for something else than one output a feature.
    """
    return VariationalAutoencoder(options, require_outputs_of_features("variational-autoencoder", sizes, outputs))


MODEL: Final = ModelEntry(
    title="Variational autoencoder",
    domain="tabular",
    options=VariationalAutoencoderOptions,
    build=build,
    tasks=("reconstruction",),
    inputs=(Input("features", "number", ("features",), "the numbers of a record"),),
    citation="Kingma and Welling 2014, Auto-encoding variational Bayes, International Conference on Learning "
    "Representations, arXiv:1312.6114",
    presets={
        "paper": VariationalAutoencoderOptions(),
        "small": VariationalAutoencoderOptions(hidden=(8,), code=4),
    },
    # 784 pixels and a code of 20
    counts=(
        Count("paper", {"features": 784}, (784,), 815_824),
        Count("small", {"features": 20}, (20,), 460),
    ),
    example={"features": 20},
    replaced=(
        Replacement(
            paper="the lower bound, a sum over the features",
            here="divided by the number of features",
            why="then the clipping norm does not depend on the number of features",
        ),
        Replacement(
            paper="any log variance",
            here="between -8 and 8, smoothly",
            why="weights move by noise too, and an exponential of theirs could overflow",
        ),
    ),
)
