"""Fingerprints say which surroundings occur in a compound, and nothing of a compound reaches the terminal."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data.adapters.molecules import UnusableMoleculeError, compute_fingerprint, require_chemistry
from privacy.errors import SiteConfigError

rdkit = pytest.importorskip("rdkit", reason="needs the extra chemistry")


@pytest.mark.parametrize(("smiles", "bits"), [("C", 1), ("CC", 2), ("CCC", 4), ("O=C=O", 4)])
def test_fingerprint_of_a_small_compound_has_its_surroundings(smiles: str, bits: int) -> None:
    """Counted by hand: one of methane; the methyl and its surroundings; ends and middle with theirs."""
    assert compute_fingerprint(smiles, 2, 65_536).sum() == bits


def test_fingerprint_is_that_of_rdkits_other_interface() -> None:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    for smiles in ("CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "[Na+].[Cl-]"):
        old = AllChem.GetMorganFingerprintAsBitVect(Chem.MolFromSmiles(smiles), 2, nBits=1024)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(compute_fingerprint(smiles, 2, 1024), np.array(old, dtype=np.float32))


@pytest.mark.parametrize(
    "smiles", ["", "CC(", "C1CC", "xyz", "C C", "C\n", "[Xx]", "C" * 6000, "c1cccc1", "C\u00e9"]
)
def test_compound_that_is_none_is_refused_in_silence(smiles: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnusableMoleculeError, match="is no SMILES"):
        compute_fingerprint(smiles, 2, 64)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=200)
@given(st.text("CNOcn123()=#[]+-@/\\.HFlBr", max_size=25))
def test_compound_of_random_letters_gives_bits_or_a_sentence(smiles: str) -> None:
    try:
        found = compute_fingerprint(smiles, 2, 64)
    except UnusableMoleculeError:
        found = np.zeros(64, dtype=np.float32)
    assert set(found.tolist()) <= {0.0, 1.0}


def test_without_rdkit_the_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)  # as if it were not installed
    with pytest.raises(SiteConfigError, match=r"install the extra chemistry, pip install 'consilium\[chemistry\]'"):
        require_chemistry()
