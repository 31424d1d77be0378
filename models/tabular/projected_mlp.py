"""A perceptron on principal components that are found privately, in a stage of the study that is paid like any other.

A *patient* here is whoever the records belong to, and epsilon protects them in both stages together: the stage
``projection`` sums the covariance of all patients with noise (:mod:`models.layers.private_projection`), and the task
then trains the layers behind it. Each round of either stage is the same event under one accountant. Without the first
stage the projection is a random one, which costs nothing.

Write ``clipping_norm: 1``, or scale ``length`` to its square root: the gradient of a record in the first stage has the
length ``length``^2, and what exceeds the clipping norm is clipped.
"""

from collections.abc import Mapping
from typing import Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs
from models.layers.private_projection import OBJECTIVE, PrivateProjection
from privacy.study.stage import TASK_OBJECTIVE

_NAME: Final = "projected-mlp"


class ProjectedMlpOptions(Options):
    """The options of ``projected-mlp``.

    Attributes:
        kept: how many principal components.
        hidden: units of the hidden layer.
        activation: of the hidden layer.
        length: to which records are scaled for the covariance.
        centre: a public number that is taken from every feature first. Where it is far from the features' mean, the
            mean is the first component, and takes what noise leaves of the others.
    """

    kept: int = Field(default=60, ge=1, le=4096)
    hidden: Units = 1000
    activation: Literal["relu", "tanh"] = "relu"
    length: float = Field(default=1.0, gt=0, le=100)
    centre: float = Field(default=0.0, ge=-1, le=1)


class ProjectedMlp(nn.Module):
    """A projection that is learned first, and a perceptron with one hidden layer."""

    objective: str = TASK_OBJECTIVE

    def __init__(self, options: ProjectedMlpOptions, features: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.projection = PrivateProjection(features, options.kept)
        activation = nn.ReLU() if options.activation == "relu" else nn.Tanh()
        self.layers = nn.Sequential(
            nn.Linear(options.kept, options.hidden), activation, nn.Linear(options.hidden, count_outputs(outputs))
        )
        self._outputs, self._scale, self._centre = outputs, options.length**2, options.centre

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of ``features`` (records, features), or the losses that sum their covariance."""
        values = inputs["features"] - self._centre
        if self.objective == OBJECTIVE:
            return {"own_loss": self._scale * self.projection.compute_losses(values)}
        return shape_outputs(self.layers(self.projection(values)), self._outputs)


def build(options: ProjectedMlpOptions, sizes: Sizes, outputs: tuple[int, ...]) -> ProjectedMlp:
    """Build the network.

    Raises:
        ModelError: more components are kept than a record has numbers.
    """
    if options.kept > sizes["features"]:
        raise ModelError(
            f"model.options.kept: '{_NAME}' keeps {options.kept} components of {sizes['features']} features; write at "
            f"most {sizes['features']}"
        )
    return ProjectedMlp(options, sizes["features"], outputs)


MODEL: Final = ModelEntry(
    title="Perceptron on privately found principal components",
    domain="tabular",
    options=ProjectedMlpOptions,
    build=build,
    tasks=("binary", "multiclass", "ordinal", "multilabel", "regression", "survival"),
    inputs=(Input("features", "number", ("features",), "the numbers of a record"),),
    citation="Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar and Zhang 2016, Deep learning with differential "
    "privacy, CCS 2016, arXiv 1607.00133",
    presets={
        "paper": ProjectedMlpOptions(),
        "small": ProjectedMlpOptions(kept=6, hidden=8, activation="tanh", centre=0.5),
    },
    # of the paper: 784 pixels, 60 components, 1000 hidden units, 10 digits
    counts=(
        Count("paper", {"features": 784}, (10,), 784**2 + 60 * 1000 + 1000 + 1000 * 10 + 10),
        Count("small", {"features": 12}, (), 12**2 + 6 * 8 + 8 + 8 + 1),
    ),
    example={"features": 12},
    objectives={OBJECTIVE: ("projection.covariance",)},
    task_layers=("layers",),
    replaced=(
        Replacement(
            paper="a sample and a noise of the projection's own",
            here="the lots and the noise of every other round",
            why="all rounds of a study cost the same, under one accountant; more than one round of the first stage "
            "averages its noise",
        ),
        Replacement(
            paper="one symmetric matrix of noise",
            here="independent noise on every entry, and the mean with the transposed matrix",
            why="it is what a step of DP-SGD adds; the price is the same, and off the diagonal the noise is smaller by "
            "the root of two",
        ),
    ),
)
