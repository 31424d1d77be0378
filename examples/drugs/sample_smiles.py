"""Write new molecules with a released model of ``smiles_rnn.yaml``, and count how many are molecules, and new.

    python examples/drugs/sample_smiles.py STUDY.yaml WEIGHTS.safetensors [--count 100] [--begin c1ccc] [--known FILE]

STUDY.yaml is the study as it was trained, WEIGHTS what ``consilium-site release`` gives of it, and FILE has SMILES that
the model learned from, one a line. The molecules are written one a line; at the end stands what part of all is valid
(needs rdkit: ``pip install 'consilium[chemistry]'``), what part of the valid ones is of different molecules, and what
part of those is not in FILE. None of the three means much without the others: a model that writes ``C`` alone is always
valid, and one that writes noise is always new.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from rdkit import Chem, rdBase
from safetensors.torch import load_file

from models.drugs.smiles_rnn import SmilesRnn, number_letters, write_smiles
from models.fit import build_module
from privacy.study import read_terms


class Judgement(NamedTuple):
    """Shares: of valid molecules among all, of different ones among those, and of new ones among those."""

    valid: float
    unique: float
    new: float


def judge_molecules(written: Sequence[str], known: Sequence[str] = ()) -> Judgement:
    """Judge SMILES by what molecules they are, however they are written; shares of nothing are 0."""
    rdBase.DisableLog("rdApp.*")
    molecules = [Chem.MolToSmiles(found) for each in written if each and (found := Chem.MolFromSmiles(each))]
    old = {Chem.MolToSmiles(found) for each in known if (found := Chem.MolFromSmiles(each))}
    different = set(molecules)
    return Judgement(
        len(molecules) / max(1, len(written)),
        len(different) / max(1, len(molecules)),
        len(different - old) / max(1, len(different)),
    )


def sample(study: Path, weights: Path, count: int, begin: str, temperature: float, seed: int) -> list[str]:
    """Write ``count`` SMILES with the model of ``study`` and its released ``weights``."""
    terms = read_terms(study)
    module = build_module(terms.model, terms.data, terms.task)
    if not isinstance(module, SmilesRnn):
        raise SystemExit(f"{study}: expected the model smiles-rnn, got {terms.model.name}")
    module.load_state_dict(load_file(weights))
    places = terms.task.compute_output_shape(terms.data)[0]
    random = torch.Generator().manual_seed(seed)
    return write_smiles(
        module.eval().sample(count, places, random, begin=number_letters(begin), temperature=temperature)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write new molecules with a released model of smiles_rnn.yaml.")
    parser.add_argument("study", type=Path, metavar="STUDY.yaml")
    parser.add_argument("weights", type=Path, metavar="WEIGHTS.safetensors")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--begin", default="", help="letters that every molecule begins with")
    parser.add_argument("--temperature", type=float, default=0.75)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--known", type=Path, help="SMILES that the model learned from, one a line")
    asked = parser.parse_args()
    texts = sample(asked.study, asked.weights, asked.count, asked.begin, asked.temperature, asked.seed)
    sys.stdout.write("".join(f"{each}\n" for each in texts))
    found = judge_molecules(texts, asked.known.read_text().split() if asked.known else ())
    sys.stdout.write(f"valid {found.valid:.2f}, of these unique {found.unique:.2f}, of these new {found.new:.2f}\n")
