"""Pre-train the towers of ``gans_dta.yaml`` on public sequences, and write them as public weights.

    python examples/drugs/pretrain_towers.py FOLDER OUT [--steps 300]

FOLDER has ``drug_class/mesh12_6955.csv.gz`` and ``dti/biosnap_sequences.json.gz``, as for ``prepare_biosnap.py``: 6,955
public compounds and 2,038 human proteins. OUT is a ``.safetensors`` file. The script prints its SHA-256, which a study
names under ``model.start``, with ``trained: [layers]``. No record of a site is read.
"""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Final

import numpy as np
import torch
from prepare_biosnap import read_table
from prepare_davis import AMINO_ACIDS, COMPOUND_LENGTH, SMILES, encode
from prepare_kiba import PROTEIN_LENGTH, read_texts
from safetensors.torch import save_file

from models.layers.letter_tower import Tower
from models.layers.sequence_gan import pretrain_tower

EMBEDDING: Final = 16
FILTERS: Final = 8
KERNELS: Final = {"compound": 4, "protein": 8}


def pretrain(source: Path, target: Path, steps: int) -> None:
    """Read public sequences in ``source``, train both towers, and write the file ``target``."""
    torch.manual_seed(0)
    smiles = [row[1] for row in read_table(source / "drug_class" / "mesh12_6955.csv.gz")]
    sequences = read_texts(source / "dti" / "biosnap_sequences.json.gz").values()
    read = {
        "compound": ([text for text in smiles if set(text) <= set(SMILES)], SMILES, COMPOUND_LENGTH),
        "protein": ([text for text in sequences if set(text) <= set(AMINO_ACIDS)], AMINO_ACIDS, PROTEIN_LENGTH),
    }
    tensors: dict[str, torch.Tensor] = {}
    for name, (texts, alphabet, length) in read.items():
        letters = torch.from_numpy(np.stack([encode(text, alphabet, length) for text in texts]).astype(np.int64))
        tower = Tower(name, len(alphabet) + 1, length, KERNELS[name], EMBEDDING, FILTERS)
        for step, (judged, deceived) in enumerate(pretrain_tower(tower, letters, steps)):
            if step % 100 == 0:
                sys.stdout.write(f"{name}, step {step}: {judged:.3f} {deceived:.3f}\n")
        tensors |= {f"{name}.{key}": value for key, value in tower.state_dict().items()}
    save_file(tensors, target)
    sys.stdout.write(f"{target}: {hashlib.sha256(target.read_bytes()).hexdigest()}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Pre-train towers on public sequences.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with dti and drug_class")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new .safetensors file")
    parser.add_argument("--steps", type=int, default=300, help="of both networks, for each tower")
    asked = parser.parse_args()
    pretrain(asked.source, asked.target, asked.steps)
