"""Pairs of molecules for modules of genes, from weights as a federation releases them."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

from models.fit import build_module
from privacy.study import read_terms

MODULE = "Calcium signaling pathway"


def test_pairs_are_molecules_with_the_parts_of_their_reward(repository: Path, tmp_path: Path) -> None:
    Chem = pytest.importorskip("rdkit.Chem", reason="the extra 'chemistry' is not installed")  # noqa: N806
    source = repository.parent / "shared" / "data"
    if not (source / "interactome").exists():
        pytest.skip("shared/data/interactome is not here")
    study = repository / "examples" / "drugs" / "drug_combo.yaml"
    terms = read_terms(study)
    weights, target = tmp_path / "weights.safetensors", tmp_path / "pairs.csv"
    save_file(build_module(terms.model, terms.data, terms.task).state_dict(), weights)
    program = [sys.executable, str(repository / "examples/drugs/generate_drug_pairs.py"), str(study), str(weights)]
    asked = [str(source), str(target), "--module", MODULE, "--imitated", "8", "--rounds", "1"]
    said = subprocess.run([*program, *asked], check=True, capture_output=True, text=True).stdout
    assert "valid 1.00" in said
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    for row in rows:
        assert row["module"] == MODULE
        assert Chem.MolFromSmiles(row["first"]) is not None
        assert Chem.MolFromSmiles(row["second"]) is not None
        assert 0 <= float(row["complementary"]) <= 1
        assert float(row["likeness"]) <= 0


def test_other_models_and_modules_are_refused(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("rdkit", reason="the extra 'chemistry' is not installed")
    source = repository.parent / "shared" / "data"
    if not (source / "interactome").exists():
        pytest.skip("shared/data/interactome is not here")
    drugs = repository / "examples" / "drugs"
    program = [sys.executable, str(drugs / "generate_drug_pairs.py")]
    for study, module, message in (
        ("drug_combo.yaml", "Witchcraft", "Witchcraft: no such module; there are"),
        ("deepdr.yaml", MODULE, "expected the model drug-combo, got deepdr"),
    ):
        asked = [
            str(drugs / study),
            "none.safetensors",
            str(source),
            str(tmp_path / "pairs.csv"),
            "--module",
            module,
        ]
        failed = subprocess.run([*program, *asked], capture_output=True, text=True)
        assert failed.returncode == 1
        assert message in failed.stderr
