import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelError
from models.molecules.graphs import (
    ELEMENTS,
    NOTHING,
    VALENCES,
    Graphs,
    Steps,
    allow_first,
    allow_orders,
    allow_pairs,
    begin_molecules,
    count_free,
    count_hydrogens,
    list_bonds,
    list_symbols,
    make_molecules,
    retrace_steps,
    take_steps,
)
from tests.models.molecules.drawn import draw_molecules, show_rdkit

ETHENOL = (["C", "C", "O"], [(0, 1, 2), (1, 2, 1)])


def step(stop: bool, first: int, second: int, order: int) -> Steps:
    return Steps(*(torch.tensor([each]) for each in (stop, first, second, order)))


def draw_graph(graphs: Graphs, row: int) -> networkx.Graph:
    graph = networkx.Graph()
    for place, symbol in enumerate(list_symbols(graphs, row)):
        graph.add_node(place, symbol=symbol)
    graph.add_edges_from((one, two, {"order": order}) for one, two, order in list_bonds(graphs, row))
    return graph


def test_ethenol_is_built_bond_by_bond() -> None:
    graphs = begin_molecules(1, 4)
    assert count_free(graphs).tolist() == [[4, 0, 0, 0]]
    graphs = take_steps(graphs, step(False, 0, 4 + ELEMENTS.index("C"), 1))
    graphs = take_steps(graphs, step(False, 1, 4 + ELEMENTS.index("O"), 0))
    stopped = take_steps(graphs, step(True, 0, 0, 0))
    assert torch.equal(stopped.bonds, graphs.bonds)
    wanted = make_molecules([ETHENOL], 4)
    assert torch.equal(graphs.atoms, wanted.atoms)
    assert torch.equal(graphs.bonds, wanted.bonds)
    assert count_free(graphs).tolist() == [[2, 1, 1, 0]]
    assert allow_first(graphs).tolist() == [[True, True, True, False]]
    # to close the ring with the first carbon, once
    assert allow_orders(graphs, torch.tensor([0]), torch.tensor([2])).tolist() == [[True, False, False]]


@given(st.integers(0, 10_000), st.integers(2, 14), st.integers(1, 25))
def test_random_allowed_steps_make_molecules_that_rdkit_accepts(seed: int, places: int, steps: int) -> None:
    Chem = pytest.importorskip("rdkit.Chem", reason="the extra 'chemistry' is not installed")  # noqa: N806
    graphs = draw_molecules(3, places, steps, seed)
    assert torch.equal(graphs.bonds, graphs.bonds.transpose(1, 2))
    for row in range(3):
        assert networkx.is_connected(draw_graph(graphs, row))
        molecule = show_rdkit(graphs, row)
        Chem.SanitizeMol(molecule)  # raises if a valence is broken
        hydrogens = [atom.GetTotalNumHs() for atom in molecule.GetAtoms()]
        assert count_hydrogens(graphs)[row].tolist() == hydrogens + [0] * (places - len(hydrogens))


@given(st.integers(0, 10_000))
def test_what_is_not_allowed_is_what_rdkit_refuses(seed: int) -> None:
    Chem = pytest.importorskip("rdkit.Chem", reason="the extra 'chemistry' is not installed")  # noqa: N806
    graphs = draw_molecules(1, 6, 6, seed)
    atoms = list_symbols(graphs, 0)
    for first in range(len(atoms)):
        for second in range(first):
            if graphs.bonds[0, first, second] or {"P", "I"} & {atoms[first], atoms[second]}:
                continue  # rdkit knows higher states of these
            for order in range(3):
                bonds = graphs.bonds.clone()
                bonds[0, first, second] = bonds[0, second, first] = order + 1
                molecule = show_rdkit(Graphs(graphs.atoms, bonds), 0)
                valid = Chem.SanitizeMol(molecule, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE
                pairs = allow_pairs(graphs)[0, first, second]
                orders = allow_orders(graphs, torch.tensor([first]), torch.tensor([second]))[0, order]
                assert bool(pairs & orders) == valid


@given(st.integers(0, 10_000))
def test_retraced_steps_build_the_same_molecule(seed: int) -> None:
    graphs = draw_molecules(1, 9, 14, seed)
    path = retrace_steps(graphs, 0, torch.Generator().manual_seed(seed))
    assert len(path) == len(list_bonds(graphs, 0)) + 1
    state = begin_molecules(1, 9)
    for before, action in path:
        assert torch.equal(before.bonds, state.bonds)
        state = take_steps(state, action)
    assert bool(action.stop)
    match = networkx.isomorphism
    assert networkx.is_isomorphic(
        draw_graph(state, 0),
        draw_graph(graphs, 0),
        match.categorical_node_match("symbol", ""),
        match.numerical_edge_match("order", 0),
    )


def test_every_element_takes_its_valence_in_single_bonds_and_no_more() -> None:
    for element, most in enumerate(VALENCES):
        graphs = begin_molecules(1, 9)
        graphs.atoms[0, 0] = element
        for _ in range(most):
            graphs = take_steps(graphs, step(False, 0, 9 + ELEMENTS.index("F"), 0))
        assert not bool(allow_first(graphs).any())
        with pytest.raises(ModelError, match="break a valence"):
            take_steps(graphs, step(False, 0, 9, 0))


def test_full_molecule_has_no_place_for_a_further_atom_but_for_a_ring() -> None:
    graphs = make_molecules([(["C", "C", "C"], [(0, 1, 1), (1, 2, 1)])], 3)
    assert allow_pairs(graphs)[0].nonzero().tolist() == [[0, 2], [2, 0]]
    assert graphs.atoms.min() > NOTHING


@pytest.mark.parametrize(
    ("molecule", "message"),
    [
        ((["Xe"], []), "at most 3 atoms of C, N, O"),
        ((["C"] * 4, []), "got others or 4"),
        ((["C", "C"], [(0, 2, 1)]), "between two of 2 atoms, got 0 and 2"),
        ((["C", "C"], [(0, 1, 4)]), "order 1 to 3, got 4"),
        ((["O", "C", "O"], [(0, 1, 3), (1, 2, 1)]), "more bonds than its valence"),
    ],
)
def test_impossible_molecules_are_refused(
    molecule: tuple[list[str], list[tuple[int, int, int]]], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        make_molecules([molecule], 3)


def test_molecules_that_no_steps_lead_to_are_refused() -> None:
    random = torch.Generator().manual_seed(0)
    for atoms, message in ((["O"], "this one has none"), (["C", "O"], "several parts")):
        with pytest.raises(ModelError, match=message):
            retrace_steps(make_molecules([(atoms, [])], 2), 0, random)
