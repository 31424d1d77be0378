"""Deal public molecules and their classes to four companies: ``drug_class_mlp.yaml``, ``seq2seq_fingerprint.yaml``.

    python examples/drugs/prepare_mesh_classes.py mesh12_6955.csv.gz OUT

``mesh12_6955.csv.gz`` has the SMILES of 6,955 drugs and drug-like compounds of twelve MeSH classes
(https://github.com/jgmeyerucsd/drug-class). OUT gets ``site-1`` to ``site-4``, each with ``train.npz`` and
``test.npz``:

============  =================  =========================================================================
array         shape              content
============  =================  =========================================================================
``features``  (molecules, 512)   the molecule's fingerprint: circles of up to two bonds, as bits (ECFP4)
``compound``  (molecules, 80)    the letters of the SMILES by number, 0 after its end
``label``     (molecules,)       which of the twelve classes, in the order of the alphabet
``patient``   (molecules,)       the molecule
============  =================  =========================================================================

The fingerprints need rdkit (``pip install 'consilium[chemistry]'``).

Rules:

* a molecule of two classes is left out, as is one of more than 80 letters or with a letter that is not of the alphabet;
* molecules are shuffled by a fixed seed, since the file is sorted by class, and dealt in turn. Every fifth one of a
  site is for tests.
"""

import argparse
import csv
import gzip
import sys
from pathlib import Path
from typing import Final

import numpy as np
from deal_sites import deal
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator

from privacy.study.data.letters import ALPHABETS

SITES: Final = 4
TEST_EVERY: Final = 5  # one test molecule in so many
MOST_LETTERS: Final = 80
BITS: Final = 512
RADIUS: Final = 2  # bonds


def read_molecules(source: Path) -> tuple[list[str], list[str]]:
    """Read the SMILES of one class each, in a random order that is always the same, and their classes."""
    classes: dict[str, set[str]] = {}
    with gzip.open(source, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            classes.setdefault(row["smiles"], set()).add(row["class"])
    letters = set(ALPHABETS["smiles"])
    kept = [
        text
        for text, found in classes.items()
        if len(found) == 1 and len(text) <= MOST_LETTERS and set(text) <= letters
    ]
    order = np.random.default_rng(0).permutation(len(kept))
    return [kept[place] for place in order], [min(classes[kept[place]]) for place in order]


def make_fingerprints(molecules: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Compute the bits of each molecule; zeros for what is not a molecule."""
    rdBase.DisableLog("rdApp.*")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    bits = np.zeros((len(molecules), BITS), dtype=np.uint8)
    for row, text in enumerate(molecules):
        molecule = Chem.MolFromSmiles(text)
        if molecule is not None:
            bits[row] = generator.GetFingerprintAsNumPy(molecule)
    return bits


def make_letters(molecules: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Number the letters of each molecule from 1, and fill with 0."""
    letters = np.zeros((len(molecules), MOST_LETTERS), dtype=np.uint8)
    for row, text in enumerate(molecules):
        letters[row, : len(text)] = [1 + ALPHABETS["smiles"].index(letter) for letter in text]
    return letters


def prepare(source: Path, target: Path) -> None:
    """Read the molecules of ``source`` and write the files of all sites under ``target``."""
    molecules, classes = read_molecules(source)
    names = sorted(set(classes))
    arrays = {
        "features": make_fingerprints(molecules),
        "compound": make_letters(molecules),
        "label": np.array([names.index(each) for each in classes]),
        "patient": np.array([f"molecule-{number}" for number in range(len(molecules))]),
    }
    numbers = np.arange(len(molecules))
    for path, chosen in deal(target, numbers, SITES, TEST_EVERY):
        np.savez_compressed(path, **{key: value[chosen] for key, value in arrays.items()})
        sys.stdout.write(f"{path}: {chosen.sum()} molecules of {len(names)} classes\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Deal public molecules and their classes to four companies.")
    parser.add_argument("source", type=Path, metavar="mesh12_6955.csv.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
