import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.molecules.graphs import NOTHING, Graphs, Steps, allow_orders, allow_pairs, begin_molecules, list_bonds
from models.molecules.policy import Policy, measure_paths
from tests.models.molecules.drawn import draw_molecules

PLACES = 5


def make_policy(least: int = 2) -> Policy:
    torch.manual_seed(0)
    return Policy(3, least, width=8)


def repeat(graphs: Graphs, times: int) -> Graphs:
    return Graphs(graphs.atoms.repeat(times, 1), graphs.bonds.repeat(times, 1, 1))


def list_steps(graphs: Graphs) -> Steps:
    """The stop and every allowed step of a molecule."""
    found = [(True, 0, 0, 0)]
    for _, first, second in allow_pairs(graphs).nonzero().tolist():
        orders = allow_orders(graphs, torch.tensor([first]), torch.tensor([second]))[0]
        found += [(False, first, second, order) for order in orders.nonzero()[:, 0].tolist()]
    return Steps(*(torch.tensor(field) for field in zip(*found, strict=True)))


@given(st.integers(0, 1000), st.integers(0, 6))
@torch.no_grad()
def test_chances_of_all_allowed_steps_are_one_together(seed: int, steps: int) -> None:
    graphs = draw_molecules(1, PLACES, steps, seed)
    every = list_steps(graphs)
    states = repeat(graphs, len(every.stop))
    judged = make_policy(least=1).judge(states, torch.ones(len(every.stop), 3), every)
    assert float(judged.chance.exp().sum()) == pytest.approx(1, abs=1e-4)
    small = make_policy(least=PLACES + 1).judge(states, torch.ones(len(every.stop), 3), every)
    if len(every.stop) > 1:  # else nothing but the stop is left
        assert float(small.chance[0]) == -torch.inf
    assert float(small.chance.exp().sum()) == pytest.approx(1, abs=1e-4)


@torch.no_grad()
def test_drawn_steps_are_as_frequent_as_their_chances() -> None:
    policy, graphs, times = make_policy(least=1), draw_molecules(1, PLACES, 3, 1), 4000
    states, diseases = repeat(graphs, times), torch.ones(times, 3)
    steps, judged = policy.choose(states, diseases, torch.Generator().manual_seed(0))
    torch.testing.assert_close(policy.judge(states, diseases, steps).chance, judged.chance)
    for row in range(5):  # five steps that were drawn
        stops = bool(steps.stop[row])
        same = steps.stop if stops else ~steps.stop
        for field in (steps.first, steps.second, steps.order):
            same = same & ((field == field[row]) | stops)
        chance = float(judged.chance[row].exp())
        spread = (chance * (1 - chance) / times) ** 0.5
        assert abs(float(same.float().mean()) - chance) < 5 * spread


@given(st.integers(0, 1000))
@torch.no_grad()
def test_numbering_of_atoms_changes_neither_stop_nor_value(seed: int) -> None:
    graphs = draw_molecules(1, 8, 9, seed)
    atoms = int((graphs.atoms != NOTHING).sum())
    order = torch.cat(
        [torch.randperm(atoms, generator=torch.Generator().manual_seed(seed)), torch.arange(atoms, 8)]
    )
    moved = Graphs(graphs.atoms[:, order], graphs.bonds[:, order][:, :, order])
    stop = Steps(*(torch.tensor([each]) for each in (True, 0, 0, 0)))
    one, other = (make_policy().judge(each, torch.ones(1, 3), stop) for each in (graphs, moved))
    torch.testing.assert_close(one, other)


@torch.no_grad()
def test_disease_changes_every_part_of_a_step() -> None:
    graphs = draw_molecules(1, PLACES, 2, 3)
    every = list_steps(graphs)
    states = repeat(graphs, len(every.stop))
    one, other = (
        make_policy(1).judge(states, torch.full((len(every.stop), 3), each), every) for each in (1.0, -1.0)
    )
    assert not bool(torch.isclose(one.chance, other.chance).any())
    assert not bool(torch.isclose(one.value, other.value).any())


@given(st.integers(0, 1000), st.integers(2, 12))
def test_paths_are_those_of_networkx(seed: int, places: int) -> None:
    graphs = draw_molecules(1, places, places + 3, seed)
    graph = networkx.Graph()
    graph.add_nodes_from(range(int((graphs.atoms != NOTHING).sum())))
    graph.add_edges_from((one, two) for one, two, _ in list_bonds(graphs, 0))
    for first in graph:
        found = measure_paths(graphs, torch.tensor([first]))[0]
        lengths = networkx.single_source_shortest_path_length(graph, first)
        for node, row in enumerate(found):
            wanted = [float(node in lengths and min(lengths[node], 7) == each) for each in range(8)]
            assert row.tolist() == wanted


@torch.no_grad()
def test_molecule_without_a_step_stops() -> None:
    graphs = begin_molecules(1, 1)
    steps, judged = make_policy().choose(graphs, torch.ones(1, 3), torch.Generator().manual_seed(0))
    assert bool(steps.stop)
    assert float(judged.chance) == pytest.approx(0)
    assert bool(judged.entropy.isfinite())
