import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.drugs.drug_combo import reward_pair
from models.molecules.alarms import count_alarms
from models.molecules.critic import Critic, compare_with_known
from models.molecules.graphs import make_molecules
from models.molecules.interactome import Interactome
from models.molecules.likeness import BindingByLikeness, fingerprint
from models.molecules.pair_reward import Disease, PairReward, Parts, Weights, expect_hits

ALCOHOLS = [(["C"] * size + ["O"], [(each, each + 1, 1) for each in range(size)]) for size in range(3, 7)]
NITRILES = [
    (["C"] * size + ["N"], [*((each, each + 1, 1) for each in range(size - 1)), (size - 1, size, 3)])
    for size in range(3, 7)
]
KNOWN = make_molecules([*ALCOHOLS, *NITRILES], 8)


@given(st.sets(st.integers(0, 7), min_size=1), st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)))
def test_certain_hits_are_counted_as_those_of_known_drugs(
    disease: set[int], one: set[int], other: set[int]
) -> None:
    chances = [torch.tensor([[float(gene in each) for gene in sorted(disease)]]) for each in (one, other)]
    complementary, overlapping = expect_hits(*chances)
    assert (float(complementary), float(overlapping)) == pytest.approx(reward_pair(disease, one, other))


def test_expected_hits_are_the_mean_over_all_that_may_happen() -> None:
    first, second = torch.tensor([[0.2, 0.7]]), torch.tensor([[0.5, 0.1]])
    wanted = [0.0, 0.0]
    for bound in itertools.product((0, 1), repeat=4):
        share = 1.0
        for happens, chance in zip(bound, [*first[0].tolist(), *second[0].tolist()], strict=True):
            share *= chance if happens else 1 - chance
        certain = reward_pair(
            {0, 1}, {gene for gene in (0, 1) if bound[gene]}, {gene for gene in (0, 1) if bound[2 + gene]}
        )
        wanted = [before + share * part for before, part in zip(wanted, certain, strict=True)]
    found = expect_hits(first, second)
    assert [float(part) for part in found] == pytest.approx(wanted)


def make_reward() -> PairReward:
    """Two diseases on a path of genes 0 to 9; alcohols bind 1 and 2, nitriles 4 and 5, as four drugs of each do."""
    network = Interactome(range(10), np.array([(place, place + 1) for place in range(9)]))
    targets = [(1, 2)] * 4 + [(4, 5)] * 4
    binding = [BindingByLikeness(fingerprint(KNOWN), targets, genes) for genes in ([1, 2, 4, 5], [1, 2])]
    near, far = torch.full((8,), -1.0), torch.tensor([-1.0] * 4 + [2.0] * 4)
    distances = network.measure_distances(range(10))
    return PairReward(
        [Disease(binding[0], near), Disease(binding[1], far)], fingerprint(KNOWN), targets, distances, Weights()
    )


def compute(
    first: list[tuple[list[str], list[tuple[int, int, int]]]],
    second: list[tuple[list[str], list[tuple[int, int, int]]]],
    numbers: list[int],
) -> Parts:
    torch.manual_seed(0)
    molecules = (make_molecules(first, 8), make_molecules(second, 8))
    return make_reward().compute_parts(*molecules, torch.tensor(numbers), Critic(8), KNOWN)


def test_parts_of_pairs_are_those_by_hand() -> None:
    alcohol, nitrile = ALCOHOLS[1], NITRILES[1]
    parts = compute([alcohol, alcohol, alcohol], [nitrile, alcohol, nitrile], [0, 0, 1])
    # exactly one binds each of four genes; both bind two of them; of the other disease one binds both genes
    assert parts.complementary.tolist() == pytest.approx([1.0, 0.0, 1.0])
    assert parts.overlapping.tolist() == pytest.approx([0.0, 0.5, 0.0])
    assert parts.lure.tolist() == pytest.approx([1.0, 0.0, 1.0])
    # {1, 2} and {4, 5} are 3, 2, 2, 3 apart and 1 within: s_AB = 1.5; with itself -1; nitriles are far from the second
    assert parts.exposure.tolist() == [1.0, 0.0, 0.0]
    assert parts.alarms.tolist() == [[0.0] * 3] * 2


def test_alarms_and_likeness_are_those_of_each_molecule() -> None:
    peroxide = (["C", "O", "O", "C"], [(0, 1, 1), (1, 2, 1), (2, 3, 1)])
    parts = compute([peroxide], [ALCOHOLS[0]], [0])
    made = make_molecules([peroxide], 8)
    assert parts.alarms.tolist() == [count_alarms(made).tolist(), [0]] == [[1], [0]]
    torch.manual_seed(0)
    torch.testing.assert_close(parts.likeness[0], compare_with_known(Critic(8), made, KNOWN))


def test_reward_is_the_weighted_sum_of_its_parts() -> None:
    complementary, lure, overlapping, exposure = (torch.tensor([value]) for value in (0.5, 0.25, 0.125, 1.0))
    own = torch.tensor([[3.0], [1.0]]), torch.tensor([[-2.0], [0.0]])
    parts = Parts(complementary, lure, overlapping, exposure, *own)
    weights = Weights(complementary=2, lure=4, overlapping=-8, exposure=3, alarms=0.5, likeness=0.25)
    shared = 2 * 0.5 + 4 * 0.25 - 8 * 0.125 + 3
    assert parts.weigh(weights).tolist() == [[shared - 0.5 * 3 - 0.25 * 2], [shared - 0.5]]
