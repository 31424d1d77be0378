"""Turn O'Neil's public trials of pairs of cancer drugs into arrays for ``deepsynergy.yaml``.

    python examples/drugs/prepare_oneil.py FOLDER OUT

FOLDER has the trials as the authors of HypergraphSynergy gave them (https://github.com/liuxuan666/HypergraphSynergy):
``oneil_synergy.csv.gz`` (the synergy of 583 pairs of drugs in 32 cell lines), ``oneil_drugs.csv.gz`` (SMILES of 38
drugs) and ``oneil_expression.csv.gz`` (651 genes). OUT gets ``site-1`` to ``site-4``, each with ``train.npz`` and
``test.npz``:

===============  ================  =======================================================================
array            shape             content
===============  ================  =======================================================================
``first_drug``   (trials, 256)     1 for each substructure of the drug: a Morgan fingerprint of radius 2
``second_drug``  (trials, 256)     the same of the other drug
``cell``         (trials, 651)     the expression of each gene in the cell line, as the source scales it
``synergy``      (trials,)         Loewe's synergy; set to -100 or 100 if beyond
``patient``      (trials,)         the pair of drugs
===============  ================  =======================================================================

**What is protected.** The sites are companies, and what a company hides is which drugs it tries together. So a
"patient" is a pair of drugs, whatever their order, and its trials in all cell lines are its records, which are clipped
together. No pair is at two sites, and test pairs are never seen in training; their drugs are, in other pairs.

Rules:

* pairs, and the trials of each, are in an order that a fixed seed draws; pairs are dealt to the sites in turn. Every
  fifth one of a site is for tests;
* rows that repeat a pair in a cell line stay: they are trials.

It needs the extra: ``pip install 'consilium[chemistry]'``.

Source: O'Neil et al. 2016, An unbiased oncology compound screen to identify novel combination strategies, Molecular
Cancer Therapeutics 15(6):1155-1162.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
from deal_sites import deal
from prepare_biosnap import find_substructures, read_table

SITES: Final = 4
TEST_EVERY: Final = 5  # one test pair in so many
BITS: Final = 256
BOUND: Final = 100.0  # of the study's contract


def prepare(source: Path, target: Path) -> None:
    """Read the trials in ``source`` and write the files of all sites under ``target``."""
    drugs = {row[1]: row[2] for row in read_table(source / "oneil_drugs.csv.gz")}
    prints = dict(zip(drugs, find_substructures(drugs.values(), BITS).astype(np.uint8), strict=True))
    genes = {row[0]: np.array(row[1:], dtype=np.float32) for row in read_table(source / "oneil_expression.csv.gz")}
    random = np.random.default_rng(0)
    rows = random.permutation(np.array(read_table(source / "oneil_synergy.csv.gz")))
    pair = np.array([" + ".join(sorted(row[:2])) for row in rows])
    names = random.permutation(np.unique(pair))
    places = {name: place for place, name in enumerate(names)}
    number = np.array([places[name] for name in pair])
    synergy = np.clip(rows[:, 3].astype(np.float32), -BOUND, BOUND)
    for path, chosen in deal(target, number, SITES, TEST_EVERY):
        np.savez(
            path,
            first_drug=np.stack([prints[drug] for drug in rows[chosen, 0]]),
            second_drug=np.stack([prints[drug] for drug in rows[chosen, 1]]),
            cell=np.stack([genes[line] for line in rows[chosen, 2]]),
            synergy=synergy[chosen],
            patient=pair[chosen],
        )
        sys.stdout.write(f"{path}: {len(np.unique(pair[chosen]))} pairs, {chosen.sum()} trials\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn O'Neil's public trials of pairs of drugs into arrays.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with oneil_synergy.csv.gz and the others")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
