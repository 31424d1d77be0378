import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.molecules.alarms import count_alarms, find_ring
from models.molecules.graphs import list_bonds, make_molecules
from tests.models.molecules.drawn import draw_molecules, show_rdkit

CHAIN = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7)]


@pytest.mark.parametrize(
    ("atoms", "bonds", "wanted"),
    [
        (["C", "C", "O"], [(0, 1, 1), (1, 2, 1)], 0),
        (["C", "C", "C"], [(0, 1, 2), (1, 2, 2)], 1),  # allene
        (["C", "S", "O", "O"], [(0, 1, 1), (1, 2, 2), (1, 3, 2)], 1),  # a sulphone that lacks a neighbour: S-H
        (["C", "S", "C", "O", "O"], [(0, 1, 1), (1, 2, 1), (1, 3, 2), (1, 4, 2)], 0),  # and a whole one
        (["C", "C", "C"], [(0, 1, 2), (1, 2, 1), (2, 0, 1)], 1),  # cyclopropene
        (["C", "O", "O", "C"], [(0, 1, 1), (1, 2, 1), (2, 3, 1)], 1),  # peroxide
        (["C", "N", "N", "N"], [(0, 1, 1), (1, 2, 1), (2, 3, 1)], 1),
        (["C", "N", "Cl"], [(0, 1, 1), (1, 2, 1)], 1),
        (["C", "S"], [(0, 1, 1)], 0),  # thiol
        (["C", "P"], [(0, 1, 1)], 1),
        (["C"] * 8, [*((*pair, 1) for pair in CHAIN), (7, 0, 1)], 8),  # a ring of eight
        (["C"] * 7, [*((*pair, 1) for pair in CHAIN[:6]), (6, 0, 1)], 0),
    ],
)
def test_alarms_are_those_by_hand(atoms: list[str], bonds: list[tuple[int, int, int]], wanted: int) -> None:
    assert count_alarms(make_molecules([(atoms, bonds)], 9)).tolist() == [wanted]


@given(st.integers(0, 10_000))
def test_smallest_ring_of_a_bond_is_that_of_networkx(seed: int) -> None:
    graphs = draw_molecules(1, 9, 16, seed)
    graph = networkx.Graph((one, two) for one, two, _ in list_bonds(graphs, 0))
    neighbours = [dict.fromkeys(graph[atom], 1) for atom in sorted(graph)]
    for one, two in list(graph.edges):
        graph.remove_edge(one, two)
        path = networkx.shortest_path_length(graph, one, two) + 1 if networkx.has_path(graph, one, two) else 0
        graph.add_edge(one, two)
        assert find_ring(neighbours, one, two) == path


@given(st.integers(0, 10_000))
def test_alarms_are_those_that_rdkit_matches(seed: int) -> None:
    Chem = pytest.importorskip("rdkit.Chem", reason="the extra 'chemistry' is not installed")  # noqa: N806
    graphs = draw_molecules(1, 9, 14, seed)
    molecule = show_rdkit(graphs, 0)
    Chem.SanitizeMol(molecule)
    Chem.Kekulize(molecule, clearAromaticFlags=True)
    halogen = "F,Cl,Br,I"
    patterns = [
        "[#6,#7](=*)=*",
        "O-O",
        "S~S",
        f"[{halogen}]~[!#6;!{halogen.replace(',', ';!')}]",
        f"[{halogen}]~[{halogen}]",
        "[P;!H0]",
        "[S;!H0;!$([SX2])]",
    ]
    wanted = sum(len(molecule.GetSubstructMatches(Chem.MolFromSmarts(each))) for each in patterns)
    middle = Chem.MolFromSmarts("[N,O;$([N,O](-[N,O])-[N,O])]")
    wanted += len(molecule.GetSubstructMatches(middle))
    rings = molecule.GetRingInfo()
    for bond in molecule.GetBonds():
        size, order = rings.MinBondRingSize(bond.GetIdx()), int(bond.GetBondTypeAsDouble())
        wanted += size > 7 or (order == 2 and 0 < size <= 4) or (order == 3 and 0 < size < 8)
    assert count_alarms(graphs).tolist() == [wanted]
