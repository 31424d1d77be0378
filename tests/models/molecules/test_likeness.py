import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from models.errors import ModelError
from models.molecules.graphs import NOTHING, Graphs, make_molecules
from models.molecules.likeness import BindingByLikeness, compare_fingerprints, fingerprint
from tests.models.molecules.drawn import draw_molecules, show_rdkit

RING = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)]


def make_xylene(first: int) -> Graphs:
    """o-Xylene, whose double bonds begin at atom 0 or 1: beside the methyl groups or between them."""
    bonds = [(one, two, 2 if place % 2 == first else 1) for place, (one, two) in enumerate(RING)]
    return make_molecules([(["C"] * 8, [*bonds, (0, 6, 1), (1, 7, 1)])], 10)


def test_double_bonds_of_a_ring_may_stand_either_way() -> None:
    assert torch.equal(fingerprint(make_xylene(0)), fingerprint(make_xylene(1)))
    single = make_molecules([(["C"] * 8, [(one, two, 1) for one, two in [*RING, (0, 6), (1, 7)]])], 10)
    assert not torch.equal(fingerprint(make_xylene(0)), fingerprint(single))


@given(st.integers(0, 1000))
def test_numbering_of_atoms_does_not_matter(seed: int) -> None:
    graphs = draw_molecules(1, 9, 12, seed)
    atoms = int((graphs.atoms != NOTHING).sum())
    order = torch.cat(
        [torch.randperm(atoms, generator=torch.Generator().manual_seed(seed)), torch.arange(atoms, 9)]
    )
    moved = Graphs(graphs.atoms[:, order], graphs.bonds[:, order][:, :, order])
    assert torch.equal(fingerprint(graphs), fingerprint(moved))


def test_likeness_is_shared_codes_over_all() -> None:
    ones = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    others = torch.tensor([[1, 0, 1, 0], [1, 1, 0, 0]]).bool()
    torch.testing.assert_close(compare_fingerprints(ones, others), torch.tensor([[1 / 3, 1.0], [0.0, 0.0]]))


def test_likeness_follows_that_of_rdkit() -> None:
    pytest.importorskip("rdkit", reason="the extra 'chemistry' is not installed")
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    graphs = draw_molecules(60, 12, 11, 0)
    alike = compare_fingerprints(fingerprint(graphs), fingerprint(graphs))
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = []
    for row in range(60):
        molecule = show_rdkit(graphs, row)
        Chem.SanitizeMol(molecule)
        prints.append(make.GetFingerprint(molecule))
    theirs = torch.tensor([DataStructs.BulkTanimotoSimilarity(each, prints) for each in prints])
    pairs = torch.triu_indices(60, 60, 1)
    found = torch.corrcoef(torch.stack([alike[tuple(pairs)], theirs[tuple(pairs)].float()]))[0, 1]
    assert float(found) > 0.7  # theirs have the orders of bonds and rings too


def test_what_is_like_the_binders_of_a_protein_binds_it() -> None:
    """Esters bind protein 1 and chains of nitrogen protein 2; of protein 3 one binder is known, which says nothing."""
    esters = [
        (["C"] * size + ["O", "O"], [*((each, each + 1, 1) for each in range(size - 1)), (size - 1, size, 2),
                                     (size - 1, size + 1, 1)])
        for size in range(3, 8)
    ]  # fmt: skip
    amines = [(["C", "N"] * size, [(each, each + 1, 1) for each in range(2 * size - 1)]) for size in range(2, 7)]
    known = make_molecules([*esters[:4], *amines[:4]], 12)
    targets = [{1}] * 3 + [{1, 3}] + [{2}] * 4
    binding = BindingByLikeness(fingerprint(known), targets, [1, 2, 3])
    assert binding.proteins == [1, 2]
    found = binding.predict(make_molecules([esters[4], amines[4]], 12))
    assert float(found[0, 0]) > 0.7 > 0.3 > float(found[0, 1])
    assert float(found[1, 1]) > 0.7 > 0.3 > float(found[1, 0])
    assert roc_auc_score(binding.binds.flatten(), binding.nearest.flatten()) > 0.9
    for drug, each in enumerate(targets):  # the likeness of a drug to itself does not count
        for column, protein in enumerate(binding.proteins):
            rows = [row for row, bound in enumerate(targets) if protein in bound and row != drug]
            alike = compare_fingerprints(fingerprint(known)[[drug]], fingerprint(known)[rows])
            assert float(binding.nearest[drug, column]) == pytest.approx(float(alike.max()))
            assert bool(binding.binds[drug, column]) == (protein in each)


def test_chance_is_the_share_of_known_drugs_that_are_so_alike() -> None:
    """Of drugs without any likeness, 2 in 6 bind: nothing can be told apart, and the chance is that share."""
    prints = torch.eye(6, 2048).bool()
    binding = BindingByLikeness(prints, [{1}, {1}, set(), set(), set(), set()], [1])
    assert float(binding.predict(make_molecules([(["C"], [])], 1))) == pytest.approx(1 / 3)


def test_proteins_of_which_nothing_is_known_are_refused() -> None:
    with pytest.raises(ModelError, match="none of the 2 proteins is bound by two known drugs"):
        BindingByLikeness(torch.eye(2, 2048).bool(), [{1}, {2}], [1, 2])
