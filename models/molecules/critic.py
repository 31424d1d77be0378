"""A critic that tells built molecules from known ones: a sliced Wasserstein distance whose slices are learned.

::

    features   sigmoid(W mean of the atoms' hidden numbers)           ten
    slices     leaky relu(scale * (direction . features) + shift)     ten directions of length 1
    critic     mean over slices;    distance = mean over known molecules - mean over built ones
    penalty    10 (length of the critic's gradient - 1)^2, at descriptions drawn between a known and a built one

The critic's number of a built molecule, less its mean over known ones and in their standard deviations, is a part of
the reward where it is below 0: a molecule that looks unlike known ones loses by it, and none gains by looking more like
them than they do themselves. All molecules come from public knowledge.

Sources: Karimi, Hasanzadeh and Shen 2020 (``models/drugs/drug_combo.py``), after Kolouri et al. 2019, Generalized
sliced Wasserstein distances, NeurIPS; Gulrajani et al. 2017, Improved training of Wasserstein GANs, NeurIPS, for the
penalty.
"""

from typing import Final

import torch
from torch import nn
from torch.nn.functional import leaky_relu, normalize

from models.molecules.convolution import MoleculeConvolution, describe_nodes, normalise_bonds
from models.molecules.graphs import ELEMENTS, Graphs

PENALTY: Final = 10.0
_PARTS: Final = 10  # features, and slices
_THERE: Final = len(ELEMENTS)  # the feature that says whether a place has an atom


class Critic(nn.Module):
    """The critic.

    Args:
        width: hidden numbers of an atom.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.graphs = MoleculeConvolution(width)
        self.features = nn.Linear(width, _PARTS)
        self.directions = nn.Parameter(torch.randn(_PARTS, _PARTS))
        self.scale = nn.Parameter(torch.ones(_PARTS))
        self.shift = nn.Parameter(torch.zeros(_PARTS))

    def forward(self, graphs: Graphs) -> torch.Tensor:
        """Return the critic's number of each molecule; (molecules,)."""
        return self.criticise(describe_nodes(graphs), normalise_bonds(graphs))

    def criticise(self, nodes: torch.Tensor, networks: torch.Tensor) -> torch.Tensor:
        """Return the critic's number of described molecules; (molecules,)."""
        there = nodes[:, :, _THERE : _THERE + 1]
        mean = (self.graphs(nodes, networks) * there).sum(1) / there.sum(1)
        slices = torch.sigmoid(self.features(mean)) @ normalize(self.directions, dim=1).T
        found: torch.Tensor = leaky_relu(self.scale * slices + self.shift).mean(1)
        return found

    def compute_penalty(self, known: Graphs, made: Graphs, shares: torch.Tensor) -> torch.Tensor:
        """Compute the penalty at descriptions that are ``shares`` (molecules,) of the known molecule; a number."""
        between = []
        for describe, shape in ((describe_nodes, (-1, 1, 1)), (normalise_bonds, (-1, 1, 1, 1))):
            share = shares.view(shape)
            between.append((share * describe(known) + (1 - share) * describe(made)).requires_grad_())
        slopes = torch.autograd.grad(self.criticise(*between).sum(), between, create_graph=True)
        length = torch.cat([slope.flatten(1) for slope in slopes], 1).norm(dim=1)
        penalty: torch.Tensor = PENALTY * (length - 1).square().mean()
        return penalty


def teach_critic(
    critic: Critic,
    optimiser: torch.optim.Optimizer,
    known: Graphs,
    made: Graphs,
    random: torch.Generator,
) -> float:
    """Take a step of ``critic`` on as many known molecules as built ones; return the distance before it."""
    distance = critic(known).mean() - critic(made).mean()
    penalty = critic.compute_penalty(known, made, torch.rand(len(made.atoms), generator=random))
    optimiser.zero_grad()
    torch.autograd.backward(penalty - distance)
    optimiser.step()
    return float(distance.detach())


@torch.no_grad()
def compare_with_known(critic: Critic, made: Graphs, known: Graphs) -> torch.Tensor:
    """Compute how far below known molecules others are, in standard deviations of these; at most 0; (molecules,)."""
    usual = critic(known)
    above: torch.Tensor = (critic(made) - usual.mean()) / (usual.std() + 1e-8)
    return above.clamp(max=0.0)
