"""The reward of a pair of molecules for a disease, and its parts.

========================  ==========================================================================================
part                      of a pair
========================  ==========================================================================================
complementary             the part of the disease's proteins that exactly one molecule binds, expected: a (1 - b) +
                          b (1 - a), where a and b are the chances of binding one
lure                      the same of the cube roots of the chances, which a learner feels long before anything is
                          bound: a chance of 0.001 is 0.1, and 0 and 1 stay what they are
overlapping               the part that both bind, expected: a b
exposure                  1 if the molecules' targets are apart on the interactome (s_AB at least 0) and both near the
                          disease (proximity below 0), "complementary exposure" in Cheng et al. 2019; else 0
alarms                    of each molecule (``models/molecules/alarms.py``)
likeness                  what the critic says of each (``models/molecules/critic.py``)
========================  ==========================================================================================

The reward of a policy is the weighted sum, with alarms and likeness of its own molecule. Chances come from known drugs
(``models/molecules/likeness.py``); targets on the interactome are those of the known drug that a molecule is most like.

Sources: Karimi, Hasanzadeh and Shen 2020 (``models/drugs/drug_combo.py``); Cheng, Kovács and Barabási 2019
(``models/molecules/interactome.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from models.molecules.alarms import count_alarms
from models.molecules.critic import Critic, compare_with_known
from models.molecules.graphs import Graphs
from models.molecules.interactome import Distances, compute_separation
from models.molecules.likeness import BindingByLikeness, compare_fingerprints, fingerprint


@dataclass(frozen=True)
class Weights:
    """What each part counts; alarms are taken off.

    The first values were found by looking at the first rounds of the example: with the paper's ten for the network, the
    other parts were all that was learned there.
    """

    complementary: float = 0.0
    lure: float = 40.0
    overlapping: float = 0.0
    exposure: float = 0.5
    alarms: float = 1.0
    likeness: float = 0.5


class Parts(NamedTuple):
    """The parts of pairs' rewards: (pairs,) of a pair, (2, pairs) of its molecules, which are the last two."""

    complementary: torch.Tensor
    lure: torch.Tensor
    overlapping: torch.Tensor
    exposure: torch.Tensor
    alarms: torch.Tensor
    likeness: torch.Tensor

    def weigh(self, weights: Weights) -> torch.Tensor:
        """Return the rewards of both policies; (2, pairs)."""
        return (
            weights.complementary * self.complementary
            + weights.lure * self.lure
            + weights.overlapping * self.overlapping
            + weights.exposure * self.exposure
            - weights.alarms * self.alarms
            + weights.likeness * self.likeness
        )


def expect_hits(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute which part of a disease's proteins exactly one molecule of each pair binds, expected, and which both.

    Args:
        first: chances that the first molecules bind each protein; (pairs, proteins).
        second: those of the second ones. They are taken as independent.
    """
    both = first * second
    return (first + second - 2 * both).mean(1), both.mean(1)


class Disease(NamedTuple):
    """What the reward knows of a disease.

    Attributes:
        binding: the chances that a molecule binds its proteins.
        proximity: of each known drug; (drugs,).
    """

    binding: BindingByLikeness
    proximity: torch.Tensor


class PairReward:
    """The reward of pairs of molecules.

    Args:
        diseases: in the order of their numbers.
        drugs: fingerprints of known drugs with targets on the interactome; (drugs, bits).
        targets: of each of these: places in ``distances``.
        distances: between those places, on the interactome; (places, places).
        weights: of the parts.
    """

    def __init__(
        self,
        diseases: Sequence[Disease],
        drugs: torch.Tensor,
        targets: Sequence[Sequence[int]],
        distances: Distances,
        weights: Weights,
    ) -> None:
        self.weights = weights
        self.diseases, self._drugs, self._targets, self._distances = diseases, drugs, targets, distances

    def compute_parts(
        self, first: Graphs, second: Graphs, numbers: torch.Tensor, critic: Critic, known: Graphs
    ) -> Parts:
        """Compute the parts of pairs.

        Args:
            first: the first molecules.
            second: the second ones.
            numbers: of the disease that each pair is for; (pairs,).
            critic: that was taught on known molecules.
            known: some of these.
        """
        complementary, lure, overlapping = (torch.zeros(len(numbers)) for _ in range(3))
        for number in sorted(set(numbers.tolist())):
            disease, asked = self.diseases[number], numbers == number
            chances = [
                disease.binding.predict(Graphs(made.atoms[asked], made.bonds[asked])) for made in (first, second)
            ]
            complementary[asked], overlapping[asked] = expect_hits(*chances)
            lure[asked], _ = expect_hits(*(each ** (1 / 3) for each in chances))
        return Parts(
            complementary,
            lure,
            overlapping,
            self._expose(first, second, numbers),
            torch.stack([count_alarms(first), count_alarms(second)]).float(),
            torch.stack([compare_with_known(critic, made, known) for made in (first, second)]),
        )

    def _expose(self, first: Graphs, second: Graphs, numbers: torch.Tensor) -> torch.Tensor:
        nearest = [
            compare_fingerprints(fingerprint(made), self._drugs).argmax(1).tolist() for made in (first, second)
        ]
        return torch.tensor(
            [
                float(
                    max(self.diseases[number].proximity[one], self.diseases[number].proximity[two]) < 0
                    and compute_separation(self._distances, self._targets[one], self._targets[two]) >= 0
                )
                for one, two, number in zip(*nearest, numbers.tolist(), strict=True)
            ]
        )
