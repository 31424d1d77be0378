"""Small models of named tensors, one for each way in which a record may consist of several parts.

Each has the specs of its inputs and targets, and a loss of each record from the module's outputs.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from opacus.layers import DPGRU, DPLSTM
from torch import nn
from torch.nn import functional

from privacy.dpsgd import Example, Spec

Named = Mapping[str, torch.Tensor]


def logit_loss(outputs: torch.Tensor, targets: Named) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(outputs, targets["label"].float(), reduction="none")


def own_loss(outputs: Named, targets: Named) -> torch.Tensor:
    return outputs["own_loss"]


class Tied(nn.Module):
    """A decoder that is the transposed encoder; one layer owns the weight and uses it twice."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(hidden, features) / 3)
        self.inner = nn.Parameter(torch.randn(hidden))
        self.outer = nn.Parameter(torch.randn(features))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        code = torch.sigmoid(functional.linear(features, self.weight, self.inner))
        return functional.linear(code, self.weight.T, self.outer)


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tied = Tied(6, 4)

    def forward(self, inputs: Named) -> Named:
        features = inputs["features"]
        return {"own_loss": (self.tied(features) - features).square().mean(1)}


class FreeEnergy(nn.Module):
    """The free energy of a restricted Boltzmann machine, of every row of (records, rows, visible)."""

    def __init__(self, visible: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(hidden, visible) / 2)
        self.visible = nn.Parameter(torch.randn(visible) / 2)
        self.hidden = nn.Parameter(torch.randn(hidden) / 2)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        hidden = functional.softplus(functional.linear(rows, self.weight, self.hidden)).sum(-1)
        return -(rows @ self.visible) - hidden


class Boltzmann(nn.Module):
    """Contrastive divergence with one Gibbs step, which draws in training only."""

    draws_randomly = True

    def __init__(self) -> None:
        super().__init__()
        self.energy = FreeEnergy(6, 4)

    def forward(self, inputs: Named) -> Named:
        data = inputs["codes"].float()
        energies = self.energy(torch.stack([data, self._reconstruct(data)], dim=1))  # (records, 2)
        return {"own_loss": energies[:, 0] - energies[:, 1]}

    def _reconstruct(self, data: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            hidden = self._draw(torch.sigmoid(functional.linear(data, self.energy.weight, self.energy.hidden)))
            return self._draw(torch.sigmoid(functional.linear(hidden, self.energy.weight.T, self.energy.visible)))

    def _draw(self, chances: torch.Tensor) -> torch.Tensor:
        return torch.bernoulli(chances) if self.training else chances


class CodeGram(nn.Module):
    """Codes of one visit predict each other from the Gram matrix of their vectors, as in Med2Vec; (records,)."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(codes, width))

    def forward(self, visits: torch.Tensor) -> torch.Tensor:
        vectors = functional.softplus(self.weight)
        chances = torch.log_softmax(vectors @ vectors.T, dim=1)
        return -torch.einsum("rvi,ij,rvj->r", visits, chances, visits)


class Codes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gram = CodeGram(5, 3)

    def forward(self, inputs: Named) -> Named:
        return {"own_loss": self.gram(inputs["visits"].float())}


class Ids(nn.Module):
    """Ids with padding, pooled where a mask says so."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4, padding_idx=0)
        self.last = nn.Linear(4, 1)

    def forward(self, inputs: Named) -> torch.Tensor:
        mask = inputs["mask"][..., None]
        pooled = (self.table(inputs["ids"]) * mask).sum(1) / mask.sum(1)
        found: torch.Tensor = self.last(torch.tanh(pooled))
        return found.squeeze(1)


class Sequence(nn.Module):
    """The state after the last step of a mask."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.last = nn.Linear(3, 1)

    def forward(self, inputs: Named) -> Named:
        states = self.layer(inputs["series"])[0]  # (records, times, 3)
        places = torch.arange(states.shape[1], device=states.device)
        end = torch.where(inputs["mask"], places, 0).amax(1)
        state = states.gather(1, end[:, None, None].expand(-1, 1, 3)).squeeze(1)
        return {"outputs": self.last(state).squeeze(1)}


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)
        self.numbers = nn.Linear(4, 3)
        self.last = nn.Linear(3, 1)

    def forward(self, inputs: Named) -> torch.Tensor:
        found: torch.Tensor = self.last(torch.tanh(self.table(inputs["unit"]) * self.numbers(inputs["numbers"])))
        return found.squeeze(1)


class Crops(nn.Module):
    """Crops inside a record, one of them through the same convolution as all others."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 3)
        self.last = nn.Linear(4, 1)

    def forward(self, inputs: Named) -> torch.Tensor:
        crops = inputs["crops"]  # (records, crops, 2, 6, 5)
        found = torch.tanh(self.convolution(crops.flatten(0, 1))).mean((2, 3))  # (records * crops, 4)
        logits: torch.Tensor = self.last(found.view(*crops.shape[:2], 4).mean(1))
        return logits.squeeze(1)


class Decay(nn.Module):
    """Raw parameters of one number for each variable, as in GRU-D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width))
        self.bias = nn.Parameter(torch.rand(width))

    def forward(self, gaps: torch.Tensor) -> torch.Tensor:
        return torch.exp(-functional.softplus(self.weight * gaps + self.bias))


class Decaying(nn.Module):
    """A raw layer that is called at every time step, and a recurrence of linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.decay, self.step, self.last = Decay(3), nn.Linear(3 + 4, 4), nn.Linear(4, 1)

    def forward(self, inputs: Named) -> torch.Tensor:
        series, gaps = inputs["series"], inputs["gaps"]
        state = series.new_zeros(len(series), 4)
        for time in range(series.shape[1]):
            given = series[:, time] * self.decay(gaps[:, time])
            state = torch.tanh(self.step(torch.cat([given, state], dim=1)))
        logits: torch.Tensor = self.last(state)
        return logits.squeeze(1)


class Model(NamedTuple):
    build: Callable[[], nn.Module]
    example: Example
    loss: Callable[[Any, Any], torch.Tensor]


_LABEL = {"label": Spec((), torch.int64)}
_SERIES = {"series": Spec((6, 4)), "mask": Spec((6,), torch.bool)}


def _outputs_loss(outputs: Named, targets: Named) -> torch.Tensor:
    return logit_loss(outputs["outputs"], targets)


MODELS: dict[str, Model] = {
    "tied autoencoder": Model(Autoencoder, Example({"features": Spec((6,))}, {}), own_loss),
    "boltzmann machine": Model(
        lambda: Boltzmann().eval(), Example({"codes": Spec((6,), torch.bool)}, {}), own_loss
    ),
    "gram of codes": Model(Codes, Example({"visits": Spec((3, 5), torch.bool)}, {}), own_loss),
    "ids with padding": Model(
        Ids, Example({"ids": Spec((4,), torch.int64, 0, 6), "mask": Spec((4,), torch.bool)}, _LABEL), logit_loss
    ),
    "lstm with a mask": Model(
        lambda: Sequence(DPLSTM(4, 3, batch_first=True)), Example(_SERIES, _LABEL), _outputs_loss
    ),
    "gru with a mask": Model(
        lambda: Sequence(DPGRU(4, 3, batch_first=True)), Example(_SERIES, _LABEL), _outputs_loss
    ),
    "ids and numbers": Model(
        TwoInputs,
        Example({"unit": Spec((), torch.int64, 0, 4), "numbers": Spec((4,)), "unused": Spec((2,))}, _LABEL),
        logit_loss,
    ),
    "crops": Model(Crops, Example({"crops": Spec((3, 2, 6, 5))}, _LABEL), logit_loss),
    "decay": Model(
        Decaying, Example({"series": Spec((5, 3)), "gaps": Spec((5, 3), low=0.0, high=4.0)}, _LABEL), logit_loss
    ),
}


def built(name: str) -> nn.Module:
    """The model ``name``, with the same parameters each time."""
    torch.manual_seed(3)
    return MODELS[name].build()
