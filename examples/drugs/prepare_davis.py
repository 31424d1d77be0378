"""Turn the public Davis measurements of kinase inhibitors into arrays, those of ``deepdta_pairs.yaml``.

    python examples/drugs/prepare_davis.py FOLDER OUT

FOLDER has the measurements as DeepDTA's authors gave them (https://github.com/hkmztrk/DeepDTA; Davis et al. 2011):
``davis_ligands.json`` (SMILES of 68 compounds), ``davis_proteins.json`` (sequences of 442 proteins) and
``davis_kd_nM.txt``, the dissociation constant of every pair. OUT gets ``site-1`` to ``site-3``, each with
``train.npz`` and ``test.npz``:

============  ================  ==========================================================================
array         shape             content
============  ================  ==========================================================================
``compound``  (pairs, 100)      the letters of the SMILES by number, 0 after its end
``protein``   (pairs, 1000)     the amino acids by number, 0 after the end; longer proteins are cut
``affinity``  (pairs,)          pKd = 9 - log10(Kd in nM); 5 also stands for "weaker than 10 uM"
``patient``   (pairs,)          the compound: see below
============  ================  ==========================================================================

**What is protected.** The sites are companies, and what a company hides is its compounds. So a "patient" is a
compound, and its pairs with all proteins are its records, which are clipped together. Test compounds are never
seen in training. That is harder than the split of the paper, where every compound is in training with most
proteins, and its figures do not compare.

Rules:

* the pairs of a compound are in an order that a fixed seed draws, so that the first of them, which
  ``data.records_per_patient`` keeps, are a sample of all proteins;
* both alphabets are public: the letters that SMILES are written with, and those of amino acids;
* compounds are dealt to the sites in turn, in the order of the file. Every fifth one of a site is for tests.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

import numpy as np
from deal_sites import deal

SITES: Final = 3
TEST_EVERY: Final = 5  # one test compound in so many
SMILES: Final = "#%()+-./0123456789=@ABCDEFGHIKLMNOPRSTUVWYZ[\\]abcdefghilmnorstuy"
AMINO_ACIDS: Final = "ABCDEFGHIKLMNOPQRSTUVWXYZ"
COMPOUND_LENGTH: Final = 100
PROTEIN_LENGTH: Final = 1000


def encode(text: str, alphabet: str, length: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Number the letters of ``text`` from 1, cut or filled with 0 to ``length``."""
    letters = np.zeros(length, dtype=np.uint8)
    for place, letter in enumerate(text[:length]):
        letters[place] = 1 + alphabet.index(letter)
    return letters


def prepare(source: Path, target: Path) -> None:
    """Read the measurements in ``source`` and write the files of all sites under ``target``."""
    ligands = json.loads((source / "davis_ligands.json").read_text())
    sequences = json.loads((source / "davis_proteins.json").read_text())
    constants = np.loadtxt(source / "davis_kd_nM.txt")
    if constants.shape != (len(ligands), len(sequences)):
        raise SystemExit(f"expected {len(ligands)} x {len(sequences)} constants, got {constants.shape}")
    compounds = np.stack([encode(text, SMILES, COMPOUND_LENGTH) for text in ligands.values()])
    proteins = np.stack([encode(text, AMINO_ACIDS, PROTEIN_LENGTH) for text in sequences.values()])
    affinity = (9 - np.log10(constants)).astype(np.float32)  # (compounds, proteins)
    order = np.random.default_rng(0).permutation(len(sequences))
    proteins, affinity = proteins[order], affinity[:, order]
    names, numbers = np.array(list(ligands)), np.arange(len(ligands))
    for path, here in deal(target, numbers, SITES, TEST_EVERY):
        chosen = numbers[here]
        np.savez(
            path,
            compound=np.repeat(compounds[chosen], len(proteins), axis=0),
            protein=np.tile(proteins, (len(chosen), 1)),
            affinity=affinity[chosen].reshape(-1),
            patient=np.repeat(names[chosen], len(proteins)),
        )
        sys.stdout.write(f"{path}: {len(chosen)} compounds, {affinity[chosen].size} pairs\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Turn the public Davis measurements of kinase inhibitors into arrays."
    )
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with davis_ligands.json and the others")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
