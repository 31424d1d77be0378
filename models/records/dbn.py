"""A deep belief network: restricted Boltzmann machines, trained layer by layer without labels, then a classifier.

Layer k is pre-trained by contrastive divergence (CD-k) under the objective ``layer-k``. The rule of CD is the gradient
of ``F(v0) - F(vk)``, where F is the free energy, v0 the record, and vk, which counts as a constant, the end of a Gibbs
chain that begins at the record. So it is a loss of one record, and clipping and noise apply as to any other loss.
Chains that outlive a step (persistent CD) would carry one patient's values into the step of another.

Source: Hinton 2002, Training products of experts by minimizing contrastive divergence, Neural Computation 14:1771.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs
from models.layers.sigmoid import LinearBeforeSigmoid

LAYERS: Final = 3
"""The most layers, which are the paper's."""
_PRE_TRAINING: Final = tuple(f"layer-{place + 1}" for place in range(LAYERS))


class DbnOptions(Options):
    """The options of ``dbn``: the units of each layer, lowest first, and the steps of the Gibbs chain."""

    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(
        default=(500, 500, 2000), min_length=1, max_length=LAYERS
    )
    gibbs_steps: int = Field(default=1, ge=1, le=100)


class BoltzmannMachine(nn.Module):
    """A restricted Boltzmann machine of binary units, with energy ``E(v, h) = -v.a - h.b - h'Wv``.

    W and b are those of a linear layer, and a is the weight of a second one. So both have per-patient gradients
    without one that is built.
    """

    def __init__(self, visible: int, hidden: int) -> None:
        super().__init__()
        self.hidden = LinearBeforeSigmoid(visible, hidden)  # W and b
        self.visible = nn.Linear(visible, 1, bias=False)  # a

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Compute the free energy ``-v.a - sum_j log(1 + exp(b_j + W_j v))`` of states (..., visible); (...)."""
        linear: torch.Tensor = self.visible(states).squeeze(-1)
        return -linear - functional.softplus(self.hidden(states)).sum(-1)

    def encode(self, states: torch.Tensor) -> torch.Tensor:
        """Compute the probabilities of the hidden units given states (records, visible); (records, hidden)."""
        return torch.sigmoid(self.hidden(states))

    def compute_divergences(self, states: torch.Tensor, steps: int) -> torch.Tensor:
        """Compute ``F(v0) - F(vk)``, whose gradient is the rule of CD-k; (records, visible) -> (records,)."""
        pairs = torch.stack([states, self.run_chain(states, steps)], dim=1)  # (records, 2, visible)
        energies: torch.Tensor = self(pairs)  # (records, 2)
        return energies[:, 0] - energies[:, 1]

    @torch.no_grad()
    def run_chain(self, states: torch.Tensor, steps: int) -> torch.Tensor:
        """Run a Gibbs chain of ``steps`` steps from each state; (records, visible).

        In training every unit is drawn. Otherwise its probability stands for it, so that the loss is not random.
        """
        # weights are used outside their layers here: no gradient flows, so none is missed
        weight, bias = self.hidden.weight, self.hidden.bias
        for _ in range(steps):
            hidden = self._draw(torch.sigmoid(functional.linear(states, weight, bias)))
            states = self._draw(torch.sigmoid(functional.linear(hidden, weight.T, self.visible.weight[0])))
        return states

    def _draw(self, probabilities: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return probabilities
        # unlike torch.bernoulli, this accepts a probability that is not a number, which concerns its patient alone
        return (torch.rand_like(probabilities) < probabilities).to(probabilities.dtype)


class DeepBeliefNetwork(nn.Module):
    """A stack of Boltzmann machines, whose probabilities feed each other, and a head."""

    objective: str = "task"
    draws_randomly = True

    def __init__(self, options: DbnOptions, features: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        widths = (features, *options.hidden)
        self.machines = nn.ModuleList(BoltzmannMachine(below, units) for below, units in pairwise(widths))
        self.head = nn.Linear(widths[-1], count_outputs(outputs))
        self._outputs, self._steps = outputs, options.gibbs_steps

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of ``features`` (records, features), or the loss of the layer that is pre-trained."""
        states = inputs["features"]
        if self.objective == "task":
            return shape_outputs(self.head(self.encode(states, len(self.machines))), self._outputs)
        place = _PRE_TRAINING.index(self.objective)
        if place >= len(self.machines):
            raise ModelError(f"objective {self.objective}: the model has {len(self.machines)} layers")
        # the layers below are not trained again
        below = self.encode(states, place).detach()
        return {"own_loss": self._get_machine(place).compute_divergences(below, self._steps)}

    def encode(self, states: torch.Tensor, layers: int) -> torch.Tensor:
        """Encode ``states`` (records, features) by the lowest ``layers`` machines; (records, units)."""
        for place in range(layers):
            states = self._get_machine(place).encode(states)
        return states

    def _get_machine(self, place: int) -> BoltzmannMachine:
        machine = self.machines[place]
        assert isinstance(machine, BoltzmannMachine)
        return machine


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
    objectives={name: (f"machines.{place}",) for place, name in enumerate(_PRE_TRAINING)},
    task_layers=(*(f"machines.{place}.hidden" for place in range(len(_PRE_TRAINING))), "head"),
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
