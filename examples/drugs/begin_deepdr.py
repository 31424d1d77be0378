"""Make the weights that ``deepdr.yaml`` may begin with, from public networks of drugs.

    python examples/drugs/begin_deepdr.py deepdr.npz WEIGHTS.safetensors

``deepdr.npz`` has three networks of 1,519 drugs, as pointwise mutual information of random walks
(https://github.com/ChengF-Lab/deepDR). They are fused, and each number that a drug gets becomes a row that the model
of ``deepdr.yaml`` restores. Nothing of it is private. The digest that is printed goes into the study as
``model.start``, and the file to each site (``consilium-site weights add``). It takes about a minute.
"""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import save_file

from models.drugs.deepdr import DeepDr, begin_with_features, fuse_networks
from models.fit import build_module
from privacy.study import read_terms

NETWORKS: Final = ("ppmi2", "ppmi6", "ppmi9")
_STUDY: Final = Path(__file__).parent / "deepdr.yaml"


def read_networks(source: Path) -> list[torch.Tensor]:
    """Read the networks of ``source`` as rows in [0, 1]; (drugs, drugs) each."""
    networks = []
    with np.load(source) as arrays:
        drugs = int(arrays["shape_dd"][0])
        for name in NETWORKS:
            rows = np.zeros((drugs, drugs), dtype=np.float32)
            rows[tuple(arrays[f"{name}_ij"].T)] = arrays[f"{name}_v"]
            networks.append(torch.from_numpy(rows / rows.max()))
    return networks


def begin(source: Path, target: Path) -> str:
    """Write the weights to ``target``; return their digest."""
    terms = read_terms(_STUDY)
    torch.manual_seed(0)
    module = build_module(terms.model, terms.data, terms.task)
    assert isinstance(module, DeepDr)
    features = fuse_networks(read_networks(source), hidden=64, code=64, epochs=40, rate=0.3)
    begin_with_features(module, features, epochs=200, rate=3e-3)
    save_file(module.state_dict(), target)
    return hashlib.sha256(target.read_bytes()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the weights that deepdr.yaml may begin with.")
    parser.add_argument("source", type=Path, metavar="deepdr.npz")
    parser.add_argument("target", type=Path, metavar="WEIGHTS.safetensors")
    asked = parser.parse_args()
    sys.stdout.write(f"start: {begin(asked.source, asked.target)}\n")
