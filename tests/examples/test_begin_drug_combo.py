"""The public weights of ``drug_combo.yaml``: codes of the interactome, for those genes of the study that it has."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.fit import build_module
from privacy.study import read_terms


def test_weights_are_those_of_the_study_with_codes_for_the_genes_that_interact(
    repository: Path, tmp_path: Path
) -> None:
    source = repository.parent / "shared" / "data"
    if not (source / "interactome").exists():
        pytest.skip("shared/data/interactome is not here")
    target = tmp_path / "start.safetensors"
    program = [sys.executable, str(repository / "examples/drugs/begin_drug_combo.py"), str(source), str(target)]
    said = subprocess.run([*program, "--steps", "10"], check=True, capture_output=True, text=True).stdout
    assert "13329 genes, 138356 interactions" in said
    assert "229 of 250 genes of the study have a code" in said
    assert said.strip().endswith(hashlib.sha256(target.read_bytes()).hexdigest())
    terms = read_terms(repository / "examples" / "drugs" / "drug_combo.yaml")
    torch.manual_seed(0)
    module = build_module(terms.model, terms.data, terms.task)
    begun = load_file(target)
    with np.load(source / "interactome" / "ppi.npz") as known, np.load(source / "gedfn" / "brca_er.npz") as study:
        interacting = np.isin(study["entrez"], known["gene"][np.unique(known["edge"])])
    as_before = (begun["genes.weight"] == module.state_dict()["genes.weight"]).all(0)
    assert as_before.tolist() == (~interacting).tolist()
    assert bool(begun["genes.weight"].isfinite().all())
    module.load_state_dict(begun)
