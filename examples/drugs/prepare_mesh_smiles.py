"""Deal public molecules to four companies as sequences of letters, for ``smiles_rnn.yaml``.

    python examples/drugs/prepare_mesh_smiles.py mesh12_6955.csv.gz OUT

``mesh12_6955.csv.gz`` has the SMILES of 6,955 drugs and drug-like compounds of twelve MeSH classes
(https://github.com/jgmeyerucsd/drug-class). OUT gets ``site-1`` to ``site-4``, each with ``train.npz`` and
``test.npz``:

===========  ======================  ====================================================================
array        shape                   content
===========  ======================  ====================================================================
``letters``  (molecules, 82, 66)     at each place one flag: start, a letter of the alphabet, or end
``present``  (molecules, 82)         the places up to the end
``patient``  (molecules,)            the molecule
===========  ======================  ====================================================================

Rules:

* a molecule that is there twice is taken once; those of more than 80 letters, or with a letter
  that is not of the alphabet, are left out;
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

from models.drugs.smiles_rnn import END, TOKENS, number_letters
from privacy.study.data.letters import ALPHABETS

SITES: Final = 4
TEST_EVERY: Final = 5  # one test molecule in so many
MOST_LETTERS: Final = 80
PLACES: Final = MOST_LETTERS + 2


def read_molecules(source: Path) -> list[str]:
    """Read the distinct SMILES that are short enough and of the alphabet, in a random order that is always the same."""
    with gzip.open(source, "rt", encoding="utf-8", newline="") as file:
        found = dict.fromkeys(row["smiles"] for row in csv.DictReader(file))
    letters = set(ALPHABETS["smiles"])
    short = [each for each in found if len(each) <= MOST_LETTERS and set(each) <= letters]
    return [short[place] for place in np.random.default_rng(0).permutation(len(short))]


def prepare(source: Path, target: Path) -> None:
    """Read the molecules of ``source`` and write the files of all sites under ``target``."""
    molecules = read_molecules(source)
    numbers = np.arange(len(molecules))
    for path, here in deal(target, numbers, SITES, TEST_EVERY):
        chosen = numbers[here]
        letters = np.zeros((len(chosen), PLACES, TOKENS), dtype=bool)
        present = np.zeros((len(chosen), PLACES), dtype=bool)
        for row, number in enumerate(chosen):
            tokens = [*number_letters(molecules[number]), END]
            letters[row, range(len(tokens)), tokens] = True
            present[row, : len(tokens)] = True
        patient = np.array([f"molecule-{number}" for number in chosen])
        np.savez_compressed(path, letters=letters, present=present, patient=patient)
        sys.stdout.write(f"{path}: {len(chosen)} molecules, {present.sum()} tokens\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Deal public molecules to four companies.")
    parser.add_argument("source", type=Path, metavar="mesh12_6955.csv.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
