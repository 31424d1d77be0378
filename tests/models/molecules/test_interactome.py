from itertools import pairwise
from pathlib import Path

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelError
from models.molecules.interactome import Interactome, compute_proximity, compute_separation

PATH = Interactome(range(6), np.array(list(pairwise(range(6)))))  # 0 - 1 - 2 - 3 - 4 - 5
BETWEEN = PATH.measure_distances(range(6))


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ([0], [3], 3.0),  # two single genes: their distance
        ([0], [0], 0.0),
        ([0, 1], [4, 5], 2.5),  # to the other pair 4, 3, 3, 4; within 1 and 1
        ([0, 2, 4], [1, 3, 5], -1.0),  # every neighbour is of the other drug; within 2 and 2
        ([0, 1, 2], [1, 2, 3], -2 / 3),  # 1, 0, 0 and 0, 0, 1; within 1 and 1
    ],
)
def test_separation_on_a_path_is_that_by_hand(first: list[int], second: list[int], wanted: float) -> None:
    assert compute_separation(BETWEEN, first, second) == pytest.approx(wanted)
    assert compute_separation(BETWEEN, second, first) == pytest.approx(wanted)


@given(st.integers(5, 30), st.integers(0, 1000))
def test_distances_and_separation_are_those_of_networkx(nodes: int, seed: int) -> None:
    graph = networkx.gnp_random_graph(nodes, 0.15, seed=seed)
    part = max(networkx.connected_components(graph), key=len)
    edges = [*graph.edges, (0, 0), *graph.edges]  # one with itself and repeated ones change nothing
    found = Interactome([100 + node for node in range(nodes)], np.array(edges))
    assert len(found.genes) == len(part)
    inside = graph.subgraph({gene - 100 for gene in found.genes})
    listed = {(found.genes[one] - 100, found.genes[two] - 100) for one, two in found.list_edges().tolist()}
    assert listed == {(min(pair), max(pair)) for pair in inside.edges if pair[0] != pair[1]}
    assert len(listed) == len(found.list_edges())
    lengths = dict(networkx.all_pairs_shortest_path_length(inside))
    distances = found.measure_distances(range(len(found.genes)))
    for row, gene in enumerate(found.genes):
        assert found.degree[row] == inside.degree[gene - 100]
        assert [lengths[gene - 100][other - 100] for other in found.genes] == distances[row].tolist()
    random = np.random.default_rng(seed)
    first, second = (random.choice(len(part), size=min(3, len(part)), replace=False).tolist() for _ in range(2))

    def name(places: list[int]) -> list[int]:
        return [found.genes[place] - 100 for place in places]

    def within(genes: list[int]) -> float:
        if len(genes) == 1:
            return 0.0
        return float(np.mean([min(lengths[one][two] for two in genes if two != one) for one in genes]))

    one, two = name(first), name(second)
    across = [min(lengths[gene][other] for other in two) for gene in one]
    across += [min(lengths[gene][other] for other in one) for gene in two]
    wanted = np.mean(across) - (within(one) + within(two)) / 2
    assert compute_separation(distances, first, second) == pytest.approx(wanted)


def test_proximity_is_that_of_many_random_targets_of_the_same_degree() -> None:
    graph = networkx.barabasi_albert_graph(800, 2, seed=1)
    network = Interactome(range(800), np.array(graph.edges))
    nearest = network.measure_distances([3, 40, 500]).min(axis=0)
    targets = [17, 200, 300, 640]
    random = np.random.default_rng(0)
    # degrees 2, 3, 4 to 5 and above hold at least 100 genes each, and so they are the bins
    limits = [3, 4]
    counts = np.bincount(network.degree)
    assert counts[2] >= 100
    assert counts[3] >= 100
    rest = np.flatnonzero(network.degree > 3)
    held = np.cumsum(counts[4:])
    upper = 4 + int(np.argmax(held >= 100))
    if len(rest) - held[upper - 4] >= 100:
        limits.append(upper + 1)
    bins = np.digitize(network.degree, limits)
    draws = np.stack([random.choice(nearest[bins == bins[target]], 20_000) for target in targets]).mean(axis=0)
    wanted = (nearest[targets].mean() - draws.mean()) / draws.std()
    # the mean of 20,000 draws is within 5 / sqrt(20,000) deviations, the deviation within 2.5 %
    assert compute_proximity(nearest, network.degree, targets) == pytest.approx(
        wanted, abs=0.04 + 0.025 * abs(wanted)
    )
    assert compute_proximity(nearest, network.degree, [3, 40]) < -1.5  # the disease's own genes


def test_sets_without_genes_and_edges_to_nowhere_are_refused() -> None:
    with pytest.raises(ModelError, match="one of them is empty"):
        compute_separation(BETWEEN, [], [1])
    with pytest.raises(ModelError, match="it has none"):
        compute_proximity(BETWEEN[0], PATH.degree, [])
    with pytest.raises(ModelError, match="between the 2 genes, got 0 to 5"):
        Interactome([7, 8], np.array([[0, 5]]))
    assert PATH.find([4, 99, 1, 4]) == [1, 4]


def test_human_interactome_has_its_published_size(repository: Path) -> None:
    source = repository.parent / "shared" / "data" / "interactome" / "ppi.npz"
    if not source.exists():
        pytest.skip("shared/data/interactome is not here")
    with np.load(source) as arrays:
        network = Interactome(arrays["gene"].tolist(), arrays["edge"])
    assert len(network.genes) == 13_329
    assert (network.degree >= 1).all()
    far = network.measure_distances(network.find([2099, 4000]))  # ESR1 and LMNA
    assert far.max() < 20
