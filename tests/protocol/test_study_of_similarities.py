"""Three companies learn which drugs bind the oestrogen receptors, from a published matrix of similar drugs.

Each has eighteen drugs of its own, which are what is protected; the matrix is public, and the terms name its file.
Source of both files: Yamanishi et al. 2008, Prediction of drug-target interaction networks.
"""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.numpy import load
from sklearn.metrics import roc_auc_score

from client.data.conversion.kept_snapshots import make_snapshot
from models.fit import build_module
from privacy.study import parse_terms
from tests.client.data.conversion.converting import SHARED
from tests.simulator import Simulator, change_policy

SITES = ("ash", "birch", "cedar")
RECEPTORS = ["hsa2099", "hsa2100"]
MATRIX = SHARED / "dti/nr_simmat_dc.txt"


@pytest.mark.skipif(not MATRIX.exists(), reason="shared/data/dti is not here")
def test_companies_learn_from_rows_of_a_published_matrix(tmp_path: Path) -> None:
    links = pd.read_csv(SHARED / "dti/nr_admat_dgc.txt", sep="\t", index_col=0)  # proteins by drugs
    binds = links.loc[RECEPTORS].max()
    terms = parse_terms(
        {
            "consilium": 1,
            "name": "oestrogen-ligands",
            "purpose": "a test",
            "model": {"name": "logistic"},
            "data": {
                "kind": "pairs",
                "name": "nuclear-receptor-drugs",
                "ranges_from": "Similarities are shares, by their definition.",
                "protected": "features",
                "inputs": [
                    {
                        "kind": "similarities",
                        "name": "features",
                        "columns": list(links.columns),
                        "diagonal": 1,
                        "sha256": hashlib.sha256(MATRIX.read_bytes()).hexdigest(),
                    }
                ],
                "label": {"name": "binds", "positive": ["1"], "negative": ["0"]},
            },
            "task": {"kind": "binary"},
            "training": {"rounds": 8, "local_steps": 20, "sampling_rate": 0.8, "learning_rate": 1.0},
            "privacy": {"epsilon": 100, "delta": 1e-3, "clipping_norm": 1.0},  # few drugs: it shows the form
            "cohort": {"minimum": 3, "maximum": 8},
            "evaluation": {"rounds": [8], "bins": 10, "epsilon": "none"},
        }
    )

    def write_files(home: Path, name: str, number: int) -> tuple[Path, Path]:
        folder = home.parent / f"{name}-own"
        folder.mkdir()
        shutil.copy(MATRIX, folder / "drugs.tsv")
        own = list(links.columns)[number :: len(SITES)]
        (folder / "pairs.csv").write_text("drug,binds\n" + "".join(f"{drug},{binds[drug]}\n" for drug in own))
        (folder / "held-out.txt").write_text("\n".join(own[3::4]))
        mapping = {
            "mapping": 1,
            "contract": terms.data.name,
            "split": {"by": "patients", "test": "held-out.txt"},
            "pairs": {"kind": "csv", "path": "pairs.csv"},
            "items": {"features": {"kind": "matrix", "match": "drug", "path": "drugs.tsv"}},
        }
        (folder / "mapping.yaml").write_text(yaml.safe_dump(mapping))
        snapshot = make_snapshot(terms.data, folder / "mapping.yaml", home / "data", 0.0)
        assert (snapshot.report.training, snapshot.report.test) == (14, 4)
        return snapshot.train, snapshot.test

    simulator = Simulator(tmp_path / "wood", terms, SITES, write_files)
    try:
        for home in simulator.homes.values():
            change_policy(home, minimum_patients=10)
        simulator.launch()
        simulator.run()
        models = {simulator.released_model(name) for name in SITES}
    finally:
        simulator.close()
    (released,) = models
    module = build_module(terms.model, terms.data, terms.task)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in load(released).items()})
    similarities = pd.read_csv(MATRIX, sep="\t", index_col=0)[list(links.columns)]
    with torch.no_grad():
        said = module({"features": torch.tensor(similarities.to_numpy(np.float32))})
    # of all 54, mostly those that it was trained on: without learning it would be 0.5
    assert roc_auc_score(binds[similarities.index], said.numpy()) > 0.8
