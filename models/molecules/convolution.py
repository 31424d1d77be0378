"""Graph convolutions over molecules, for the policy that builds them and for the critic that judges them.

::

    hidden     relu(W x + b), then three times relu(mean over bond orders of A_k H W_k)

A molecule is described by numbers, so that a critic may also look between two molecules: nodes (molecules, places +
elements, features), and networks D^-1/2 (A_k + I) D^-1/2 of its bonds of each order. Behind the atoms stands a new atom
of each element, without bonds: what a step may add.

Source: You et al. 2018, Graph convolutional policy network for goal-directed molecular graph generation,
arXiv:1806.02473.
"""

import math
from typing import Final

import torch
from torch import nn
from torch.nn.functional import one_hot, pad

from models.molecules.graphs import ELEMENTS, NOTHING, ORDERS, Graphs, count_free

_KINDS: Final = len(ELEMENTS)
_FEATURES: Final = _KINDS + 3  # the element, whether it is there, free valences, bonded atoms
_LAYERS: Final = 3


class MoleculeConvolution(nn.Module):
    """Hidden numbers of each node.

    Args:
        width: how many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(_FEATURES, width)
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(ORDERS)) for _ in range(_LAYERS)
        )
        for weight in self.layers.parameters():
            # the mean of so many kinds has this part of their variance, and half of it is rectified away
            nn.init.normal_(weight, std=math.sqrt(2 * ORDERS / width))

    def forward(self, nodes: torch.Tensor, networks: torch.Tensor) -> torch.Tensor:
        """Compute the hidden numbers of all nodes; (molecules, nodes, width)."""
        hidden = torch.relu(self.embed(nodes))
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            kinds = [networks[:, order] @ kind(hidden) for order, kind in enumerate(layer)]
            hidden = torch.relu(torch.stack(kinds).mean(0))
        return hidden


def describe_nodes(graphs: Graphs) -> torch.Tensor:
    """Describe atoms, and behind them a new atom of each element; (molecules, places + elements, features)."""
    there = graphs.atoms != NOTHING
    elements = one_hot(graphs.atoms.clamp(min=0), _KINDS) * there[:, :, None]
    more = torch.stack([there, count_free(graphs) / 4, (graphs.bonds > 0).sum(2) / 4], 2)
    new = torch.eye(_KINDS, _FEATURES).expand(len(there), -1, -1)
    return torch.cat([torch.cat([elements.float(), more], 2), new], 1)


def normalise_bonds(graphs: Graphs) -> torch.Tensor:
    """Return D^-1/2 (A_k + I) D^-1/2 of the bonds of each order k; (molecules, orders, nodes, nodes)."""
    orders = torch.arange(1, ORDERS + 1)[None, :, None, None]
    joined = pad((graphs.bonds[:, None] == orders).float(), (0, _KINDS, 0, _KINDS))
    joined = joined + torch.eye(joined.shape[2])
    root = joined.sum(3).rsqrt()
    return root[:, :, :, None] * joined * root[:, :, None]
