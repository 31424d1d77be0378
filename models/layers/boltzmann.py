"""Restricted Boltzmann machines, and stacks of them that are trained layer by layer without labels.

The rule of contrastive divergence (CD-k) is the gradient of ``F(v0) - F(vk)``, where F is the free energy, v0 the
record, and vk, which counts as a constant, the end of a Gibbs chain that begins at the record. So it is a loss of one
record, and clipping and noise apply as to any other loss. Chains that outlive a step (persistent CD) would carry one
patient's values into the step of another.

Source: Hinton 2002, Training products of experts by minimizing contrastive divergence, Neural Computation 14:1771.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional

from models.errors import ModelError
from models.layers.regions import LinearByRegion
from models.layers.sigmoid import LinearBeforeSigmoid

LAYERS = 5
"""The most machines of a stack."""
OBJECTIVES = tuple(f"layer-{place + 1}" for place in range(LAYERS))
"""Of the pre-training of each machine, the lowest first."""


class Machine(nn.Module, ABC):
    """A restricted Boltzmann machine of binary units, with energy ``E(v, h) = -v.a - h.b - h'Wv``.

    W and b are those of a layer ``hidden``, and a is the weight of a second one, ``visible``. So both have per-patient
    gradients without one that is built.
    """

    hidden: nn.Module
    visible: nn.Module

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Compute the free energy ``-v.a - sum_j log(1 + exp(b_j + W_j v))`` of states (..., visible); (...)."""
        linear: torch.Tensor = self.visible(states).squeeze(-1)
        return -linear - functional.softplus(self.hidden(states)).sum(-1)

    def encode(self, states: torch.Tensor) -> torch.Tensor:
        """Compute the probabilities of the hidden units given states (records, visible); (records, hidden)."""
        return torch.sigmoid(self.hidden(states))

    @torch.no_grad()
    def restore(self, states: torch.Tensor) -> torch.Tensor:
        """Compute the logits of the visible units, given the probabilities of the hidden units given ``states``.

        Both are (records, visible). No gradient flows, as in the Gibbs chain.
        """
        return self._compute_visible(self.encode(states))

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
        for _ in range(steps):
            hidden = self._draw(torch.sigmoid(self._compute_hidden(states)))
            states = self._draw(torch.sigmoid(self._compute_visible(hidden)))
        return states

    # weights are used outside their layers in the chain: no gradient flows, so none is missed

    @abstractmethod
    def _compute_hidden(self, states: torch.Tensor) -> torch.Tensor:
        """Compute the logits of the hidden units; (records, visible) -> (records, hidden)."""

    @abstractmethod
    def _compute_visible(self, hidden: torch.Tensor) -> torch.Tensor:
        """Compute the logits of the visible units; (records, hidden) -> (records, visible)."""

    def _draw(self, probabilities: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return probabilities
        # unlike torch.bernoulli, this accepts a probability that is not a number, which concerns its patient alone
        return (torch.rand_like(probabilities) < probabilities).to(probabilities.dtype)


class BoltzmannMachine(Machine):
    """A machine whose layers are linear."""

    hidden: LinearBeforeSigmoid
    visible: nn.Linear

    def __init__(self, visible: int, hidden: int) -> None:
        super().__init__()
        self.hidden = LinearBeforeSigmoid(visible, hidden)
        self.visible = nn.Linear(visible, 1, bias=False)

    def _compute_hidden(self, states: torch.Tensor) -> torch.Tensor:
        return functional.linear(states, self.hidden.weight, self.hidden.bias)

    def _compute_visible(self, hidden: torch.Tensor) -> torch.Tensor:
        return functional.linear(hidden, self.hidden.weight.T, self.visible.weight[0])


class RegionalBoltzmannMachine(Machine):
    """A machine without weights between regions, which is one for each region: their free energies add up.

    Visible units are (records, regions, visible), hidden ones (records, regions, hidden).
    """

    hidden: LinearByRegion
    visible: LinearByRegion

    def __init__(self, regions: int, visible: int, hidden: int) -> None:
        super().__init__()
        self.hidden = LinearByRegion(regions, visible, hidden, before_sigmoid=True)
        self.visible = LinearByRegion(regions, visible, 1, bias=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Compute the free energy of states (records, times, regions, visible); (records, times)."""
        return super().forward(states).sum(-1)

    def _compute_hidden(self, states: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nrv,rhv->nrh", states, self.hidden.get_weight()) + self.hidden.get_bias()

    def _compute_visible(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nrh,rhv->nrv", hidden, self.hidden.get_weight()) + self.visible.get_weight()[:, 0]


class CountMachine(BoltzmannMachine):
    """A machine whose visible units are counts of words: a replicated softmax.

    Given hidden units, each of ``draws`` words is drawn with the probabilities ``softmax(W'h + a)``. The source
    multiplies the hidden biases by the words of a record, which are equally many for all records here.

    Source: Salakhutdinov and Hinton 2009, Replicated softmax: an undirected topic model, NIPS 22.
    """

    def __init__(self, words: int, hidden: int, draws: int) -> None:
        super().__init__(words, hidden)
        self._draws = draws

    @torch.no_grad()
    def run_chain(self, states: torch.Tensor, steps: int) -> torch.Tensor:
        """Run a Gibbs chain of ``steps`` steps from each record's counts; (records, words).

        In training every hidden unit and every word is drawn. Otherwise probabilities stand for them.
        """
        for _ in range(steps):
            hidden = self._draw(torch.sigmoid(self._compute_hidden(states)))
            states = self._draw_words(torch.softmax(self._compute_visible(hidden), dim=1))
        return states

    def _draw_words(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Draw words, and count them; (records, words) both."""
        if not self.training:
            return self._draws * probabilities
        # unlike torch.multinomial, this accepts a probability that is not a number, which concerns its patient alone
        edges = probabilities.cumsum(1).contiguous()
        drawn = torch.rand(edges.shape[0], self._draws, dtype=edges.dtype, device=edges.device)
        places = torch.searchsorted(edges, drawn).clamp(max=edges.shape[1] - 1)
        return torch.zeros_like(probabilities).scatter_add_(1, places, torch.ones_like(drawn))


class BoltzmannStack(nn.Module):
    """Machines, each of which sees the probabilities of the one below.

    Args:
        machines: lowest first.
        steps: of the Gibbs chain.
    """

    objective: str = "task"
    draws_randomly = True

    def __init__(self, machines: Iterable[Machine], steps: int) -> None:
        super().__init__()
        self.machines = nn.ModuleList(machines)
        self._steps = steps

    def encode(self, states: torch.Tensor, layers: int) -> torch.Tensor:
        """Encode ``states`` (records, ..., visible) by the lowest ``layers`` machines; (records, ..., hidden)."""
        for place in range(layers):
            states = self._get_machine(place).encode(states)
        return states

    def compute_own_loss(self, states: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the loss of the machine that the objective names.

        Raises:
            ModelError: there is no such machine.
        """
        place = OBJECTIVES.index(self.objective)
        if place >= len(self.machines):
            raise ModelError(f"objective {self.objective}: the model has {len(self.machines)} layers")
        # the layers below are not trained again
        below = self.encode(states, place).detach()
        return {"own_loss": self._get_machine(place).compute_divergences(below, self._steps)}

    def _get_machine(self, place: int) -> Machine:
        machine = self.machines[place]
        assert isinstance(machine, Machine)
        return machine
