"""A policy that builds molecules for a disease, bond by bond: graph convolutions and a head for each part of a step.

::

    nodes      the atoms, and one new atom of each element that could follow; what they are and what they lack
    hidden     relu(mean over bond orders of A_k H W_k), three times
    stop       of the mean of the atoms' hidden numbers        and the disease's vector
    first      of each atom                                    and the disease's vector
    second     of each node, with the first atom and how far apart they are, and the disease's vector
    order      of both atoms, how far apart they are, and the disease's vector
    value      of the greatest of the atoms' hidden numbers    and the disease's vector

The logarithm of a step's chance is the sum over its parts. What would break a valence has no chance at all
(``models/molecules/graphs.py``), so that every molecule is one, and a step beyond the fewest atoms may be the stop.

Source: Karimi, Hasanzadeh and Shen 2020 (``models/drugs/drug_combo.py``), after You et al. 2018, Graph convolutional
policy network for goal-directed molecular graph generation, arXiv:1806.02473.
"""

from typing import Final, NamedTuple

import torch
from torch import nn
from torch.nn.functional import one_hot

from models.molecules.convolution import MoleculeConvolution, describe_nodes, normalise_bonds
from models.molecules.graphs import (
    ELEMENTS,
    NOTHING,
    ORDERS,
    Graphs,
    Steps,
    allow_orders,
    allow_pairs,
)

_KINDS: Final = len(ELEMENTS)
_FARTHEST: Final = 7  # bonds on the path that a ring of eight closes; more are counted as this
_STOP: Final = -3.0  # the stop's logit begins here: molecules are to grow first


class Judgement(NamedTuple):
    """What a policy makes of steps; (molecules,) each.

    Attributes:
        chance: the logarithm of a step's chance.
        entropy: of the stop, of the first atom, and of second atom and order given those before them.
        value: what the policy expects of the molecule's reward.
    """

    chance: torch.Tensor
    entropy: torch.Tensor
    value: torch.Tensor


class Policy(nn.Module):
    """A policy over molecules for a disease.

    Args:
        disease: numbers of a disease's vector.
        least: atoms that a molecule has before it may stop.
        width: of the hidden numbers.
    """

    def __init__(self, disease: int, least: int = 2, width: int = 64) -> None:
        super().__init__()
        self.least = least
        self.graphs = MoleculeConvolution(width)
        self.disease = nn.Linear(disease, width)
        apart = _FARTHEST + 1
        self.stop = _make_head(2 * width, width, 1)
        self.first = _make_head(2 * width, width, 1)
        self.second = _make_head(3 * width + apart, width, 1)
        self.order = _make_head(3 * width + apart, width, ORDERS)
        self.value = _make_head(2 * width, width, 1)

    def choose(self, graphs: Graphs, disease: torch.Tensor, random: torch.Generator) -> tuple[Steps, Judgement]:
        """Draw a step of each molecule, for the disease's vector of each (molecules, numbers)."""
        return self._decide(graphs, disease, None, random)

    def judge(self, graphs: Graphs, disease: torch.Tensor, steps: Steps) -> Judgement:
        """Judge given steps of the molecules, for the disease's vector of each (molecules, numbers)."""
        return self._decide(graphs, disease, steps, None)[1]

    def _decide(
        self, graphs: Graphs, disease: torch.Tensor, given: Steps | None, random: torch.Generator | None
    ) -> tuple[Steps, Judgement]:
        rows, places = torch.arange(len(graphs.atoms)), graphs.atoms.shape[1]
        nodes, wish = (
            self.graphs(describe_nodes(graphs), normalise_bonds(graphs)),
            torch.tanh(self.disease(disease)),
        )
        wishes = wish[:, None].expand(-1, places + _KINDS, -1)
        there = (graphs.atoms != NOTHING)[:, :, None]
        atoms = nodes[:, :places]
        pairs = allow_pairs(graphs)

        mean = (atoms * there).sum(1) / there.sum(1)
        logit = self.stop(torch.cat([mean, wish], 1))[:, 0] + _STOP
        stuck = ~pairs.flatten(1).any(1)
        may = torch.stack([~stuck, stuck | (there.sum((1, 2)) >= self.least)], 1)
        stop = _choose(torch.stack([torch.zeros_like(logit), logit], 1), may, given and given.stop.long(), random)
        idle = stop.drawn.bool()[:, None]  # whose other parts are drawn among all, and do not count

        logits = self.first(torch.cat([atoms, wishes[:, :places]], 2))[:, :, 0]
        first = _choose(logits, pairs.any(2) | idle, given and given.first, random)
        begin = atoms[rows, first.drawn]
        apart = measure_paths(graphs, first.drawn)
        logits = self.second(torch.cat([nodes, begin[:, None].expand_as(nodes), apart, wishes], 2))[:, :, 0]
        second = _choose(logits, pairs[rows, first.drawn] | idle, given and given.second, random)
        logits = self.order(torch.cat([begin, nodes[rows, second.drawn], apart[rows, second.drawn], wish], 1))
        order = _choose(
            logits, allow_orders(graphs, first.drawn, second.drawn) | idle, given and given.order, random
        )

        moves = 1.0 - stop.drawn.float()
        greatest = atoms.masked_fill(~there, -torch.inf).amax(1)
        return Steps(stop.drawn.bool(), first.drawn, second.drawn, order.drawn), Judgement(
            stop.chance + moves * (first.chance + second.chance + order.chance),
            stop.entropy + moves * (first.entropy + second.entropy + order.entropy),
            self.value(torch.cat([greatest, wish], 1))[:, 0],
        )


class _Choice(NamedTuple):
    """What was chosen, the logarithm of its chance, and the entropy of the choice; (molecules,) each."""

    drawn: torch.Tensor
    chance: torch.Tensor
    entropy: torch.Tensor


def _choose(
    logits: torch.Tensor, allowed: torch.Tensor, given: torch.Tensor | None, random: torch.Generator | None
) -> _Choice:
    """Draw one of the allowed, or take the given one; ``logits`` and ``allowed`` are (molecules, n)."""
    chances = torch.log_softmax(logits.masked_fill(~allowed, -torch.inf), 1)
    drawn = torch.multinomial(chances.exp(), 1, generator=random)[:, 0] if given is None else given
    entropy = -(chances.exp() * chances.masked_fill(~allowed, 0.0)).sum(1)
    return _Choice(drawn, chances.gather(1, drawn[:, None])[:, 0], entropy)


def measure_paths(graphs: Graphs, first: torch.Tensor) -> torch.Tensor:
    """Tell how many bonds each node is from the first atom, 0 to 7; no path is none of these; one hot.

    (molecules, places + elements, 8). A new atom has no path. Seven stands for more as well.
    """
    near = one_hot(first, graphs.atoms.shape[1]).float()
    joined = (graphs.bonds > 0).float()
    found = [near]
    seen = near
    for _ in range(_FARTHEST - 1):
        near = ((joined @ near[:, :, None])[:, :, 0] > 0).float() * (1 - seen)
        found.append(near)
        seen = seen + near
    found.append((graphs.atoms != NOTHING).float() - seen)
    return nn.functional.pad(torch.stack(found, 2), (0, 0, 0, _KINDS))


def _make_head(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))
