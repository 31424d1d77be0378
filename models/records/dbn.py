"""A deep belief network: restricted Boltzmann machines, trained layer by layer without labels, then a classifier.

Layer k is pre-trained by contrastive divergence under the objective ``layer-k`` (``models/layers/boltzmann.py``).
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.boltzmann import LAYERS, OBJECTIVES, BoltzmannMachine, BoltzmannStack
from models.layers.heads import count_outputs, shape_outputs


class DbnOptions(Options):
    """The options of ``dbn``: the units of each layer, lowest first, and the steps of the Gibbs chain."""

    hidden: tuple[Units, ...] = Field(default=(500, 500, 2000), min_length=1, max_length=LAYERS)
    gibbs_steps: int = Field(default=1, ge=1, le=100)


class DeepBeliefNetwork(BoltzmannStack):
    """A stack of Boltzmann machines, whose probabilities feed each other, and a head."""

    def __init__(self, options: DbnOptions, features: int, outputs: tuple[int, ...]) -> None:
        widths = (features, *options.hidden)
        super().__init__((BoltzmannMachine(below, units) for below, units in pairwise(widths)), options.gibbs_steps)
        self.head = nn.Linear(widths[-1], count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of ``features`` (records, features), or the loss of the layer that is pre-trained."""
        states = inputs["features"]
        if self.objective != "task":
            return self.compute_own_loss(states)
        return shape_outputs(self.head(self.encode(states, len(self.machines))), self._outputs)


def build(options: DbnOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepBeliefNetwork:
    """Build the stack for ``features`` numbers in [0, 1]."""
    return DeepBeliefNetwork(options, sizes["features"], outputs)


MODEL: Final = ModelEntry(
    title="Deep belief network",
    domain="records",
    options=DbnOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(Input("features", "number", ("features",), "what is recorded of the patient, each 0, 1 or between"),),
    citation="Hinton, Osindero and Teh 2006, A fast learning algorithm for deep belief nets, Neural Computation "
    "18:1527-1554",
    presets={"paper": DbnOptions(), "small": DbnOptions(hidden=(16,))},
    # the paper's 784 pixels and 10 classes: 1,665,010 in the classifier, and the visible biases of the three machines,
    # 784 + 500 + 500
    counts=(Count("paper", {"features": 784}, (10,), 1_666_794), Count("small", {"features": 20}, (), 373)),
    example={"features": 20},
    objectives={name: (f"machines.{place}",) for place, name in enumerate(OBJECTIVES)},
    task_layers=(*(f"machines.{place}.hidden" for place in range(LAYERS)), "head"),
    replaced=(
        Replacement(
            paper="the update of contrastive divergence over a batch",
            here="the gradient of a difference of free energies, for every record",
            why="both are equal; this one is a loss of one record, so each patient's part can be clipped",
        ),
        Replacement(
            paper="the labels are units of the highest machine; all layers are tuned by the wake-sleep algorithm",
            here="a linear head, trained with all layers by the task's loss",
            why="one loss for every patient, and no second set of generative weights that would need noise too",
        ),
    ),
)
