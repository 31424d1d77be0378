"""A restricted Boltzmann machine on its own: hidden units that give back what they were shown, without labels.

It learns by contrastive divergence (``models/layers/boltzmann.py``), as its own loss. Its outputs, from which the task
``reconstruction`` computes its figures, are what one pass up and down restores; they have no gradient, so the task's
loss is counted and does not train. Several machines on each other, with a classifier, are ``dbn``.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.boltzmann import BoltzmannMachine
from models.layers.heads import require_outputs_of_features


class RbmOptions(Options):
    """The options of ``rbm``: the hidden units, and the steps of the Gibbs chain."""

    hidden: Units = 500
    gibbs_steps: int = Field(default=1, ge=1, le=100)


class Rbm(nn.Module):
    """The machine, its divergence and what it restores."""

    draws_randomly = True

    def __init__(self, options: RbmOptions, features: int) -> None:
        super().__init__()
        self.machine = BoltzmannMachine(features, options.hidden)
        self._steps = options.gibbs_steps

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``outputs``, the logits of the features, (records, features), and the divergence, (records,)."""
        states = inputs["features"]
        return {
            "outputs": self.machine.restore(states),
            "own_loss": self.machine.compute_divergences(states, self._steps),
        }

    def encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the probability of every hidden unit; (records, hidden)."""
        return self.machine.encode(inputs["features"])


def build(options: RbmOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Rbm:
    """Build the machine for ``features`` numbers in [0, 1].

    Raises:
        ModelError: the task asks for something else than one output a feature.
    """
    return Rbm(options, require_outputs_of_features("rbm", sizes, outputs))


MODEL: Final = ModelEntry(
    title="Restricted Boltzmann machine",
    domain="tabular",
    options=RbmOptions,
    build=build,
    tasks=("reconstruction",),
    inputs=(Input("features", "number", ("features",), "the numbers of a record, each 0, 1 or between"),),
    citation="Hinton 2002, Training products of experts by minimizing contrastive divergence, Neural Computation "
    "14:1771-1800",
    presets={"paper": RbmOptions(), "small": RbmOptions(hidden=8)},
    # 784 pixels: weights 392,000, biases 500 and 784
    counts=(
        Count("paper", {"features": 784}, (784,), 393_284),
        Count("small", {"features": 20}, (20,), 188),
    ),
    example={"features": 20},
    replaced=(
        Replacement(
            paper="the update of contrastive divergence over a batch",
            here="the gradient of a difference of free energies, for every record",
            why="both are equal; this one is a loss of one record, so each patient's part can be clipped",
        ),
    ),
)
