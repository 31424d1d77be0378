"""Deal public diseases and their drugs to three sites, for ``deepdr.yaml``.

    python examples/drugs/prepare_deepdr.py deepdr.npz OUT

``deepdr.npz`` has 6,677 links between 1,519 drugs and 1,229 diseases (https://github.com/ChengF-Lab/deepDR). OUT gets
``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

===========  ===============  =====================================================================
array        shape            content
===========  ===============  =====================================================================
``known``    (rows, 1519)     flags of the disease's drugs that are told
``labels``   (rows, 1519)     flags of its other drugs
``patient``  (rows,)          the disease
===========  ===============  =====================================================================

Rules:

* a disease stands for a patient: the file has no patients. A hospital has the same table of what its patients take;
* each drug of a disease is told or not by a fair coin, and at least one is not. A disease for training has four such
  rows, one for tests has one;
* a disease of one drug has that drug as its label;
* diseases are dealt in turn, in the order of the file. Every fifth one of a site is for tests.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
from deal_sites import deal

SITES: Final = 3
TEST_EVERY: Final = 5  # one test disease in so many
ROWS: Final = 4  # of a disease for training


def split_drugs(
    links: np.ndarray[tuple[int, int], np.dtype[np.bool_]], rows: int, random: np.random.Generator
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.bool_]], np.ndarray[tuple[int, int], np.dtype[np.bool_]]]:
    """Return ``rows`` rows of told drugs for each of ``links`` (diseases, drugs), and as many of the others."""
    repeated = np.repeat(links, rows, axis=0)
    told = repeated & (random.random(repeated.shape) < 0.5)
    for row in np.flatnonzero((told == repeated).all(axis=1)):  # nothing is left to find
        told[row, random.choice(np.flatnonzero(repeated[row]))] = False
    return told, repeated & ~told


def prepare(source: Path, target: Path) -> None:
    """Read the links of ``source`` and write the files of all sites under ``target``."""
    with np.load(source) as arrays:
        links = np.zeros(arrays["shape_dd"][::-1], dtype=bool)  # (diseases, drugs)
        links[arrays["drug_disease"][:, 1], arrays["drug_disease"][:, 0]] = True
    random, numbers = np.random.default_rng(0), np.arange(len(links))
    for path, here in deal(target, numbers, SITES, TEST_EVERY):
        chosen = numbers[here]
        rows = ROWS if path.stem == "train" else 1
        known, labels = split_drugs(links[chosen], rows, random)
        patient = np.repeat([f"disease-{number}" for number in chosen], rows)
        np.savez_compressed(path, known=known, labels=labels, patient=patient)
        sys.stdout.write(f"{path}: {len(chosen)} diseases, {links[chosen].sum()} links\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Deal public diseases and their drugs to three sites.")
    parser.add_argument("source", type=Path, metavar="deepdr.npz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
