"""Turn the public KIBA scores of kinase inhibitors into arrays for ``deepdta.yaml``.

    python examples/drugs/prepare_kiba.py FOLDER OUT

FOLDER has the scores as DeepDTA's authors gave them (https://github.com/hkmztrk/DeepDTA; Tang et al. 2014):
``kiba_ligands.json.gz`` (SMILES of 2,111 compounds), ``kiba_proteins.json.gz`` (sequences of 229 proteins) and
``kiba.npz``, with the ``drug``, the ``target`` and the ``score`` of 118,254 pairs, counted in the order of the two
files. OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

============  ================  ==========================================================================
array         shape             content
============  ================  ==========================================================================
``compound``  (pairs, 100)      the letters of the SMILES by number, 0 after its end; longer ones are cut
``protein``   (pairs, 600)      the amino acids by number, 0 after the end; longer proteins are cut
``affinity``  (pairs,)          the KIBA score, higher for a stronger bond; set to 8.7 or 14.7 if beyond
``patient``   (pairs,)          the compound: see ``prepare_davis.py``
============  ================  ==========================================================================

Rules:

* a "patient" is a compound, and test compounds are never seen in training, as in ``prepare_davis.py``. The split of the
  paper, by pairs, has every compound in training, and its figures do not compare;
* the pairs of a compound are in an order that a fixed seed draws, so that the first of them, which
  ``data.records_per_patient`` keeps, are a sample of its proteins;
* compounds are dealt to the sites in turn, in the order of the file. Every fifth one of a site is for tests.

Source: Tang et al. 2014, Making sense of large-scale kinase inhibitor bioactivity data sets: a comparative and
integrative analysis, Journal of Chemical Information and Modeling 54(3):735-743.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path

import numpy as np
from deal_sites import deal
from prepare_davis import AMINO_ACIDS, COMPOUND_LENGTH, SITES, SMILES, TEST_EVERY, encode

PROTEIN_LENGTH = 600  # the paper takes 1,000: this is faster, and most of these proteins are not much longer
LOW, HIGH = 8.7, 14.7  # of the study's contract; one score in 120 is beyond


def read_texts(path: Path) -> dict[str, str]:
    """Read names and texts, in the order of the file."""
    texts: dict[str, str] = json.loads(gzip.decompress(path.read_bytes()))
    return texts


def prepare(source: Path, target: Path) -> None:
    """Read the scores in ``source`` and write the files of all sites under ``target``."""
    ligands, sequences = read_texts(source / "kiba_ligands.json.gz"), read_texts(source / "kiba_proteins.json.gz")
    compounds = np.stack([encode(text, SMILES, COMPOUND_LENGTH) for text in ligands.values()])
    proteins = np.stack([encode(text, AMINO_ACIDS, PROTEIN_LENGTH) for text in sequences.values()])
    names = np.array(list(ligands))
    with np.load(source / "kiba.npz") as arrays:
        order = np.random.default_rng(0).permutation(len(arrays["score"]))
        order = order[np.argsort(arrays["drug"][order], kind="stable")]  # by compound; its pairs in drawn order
        drug, protein, score = (arrays[name][order] for name in ("drug", "target", "score"))
    for path, chosen in deal(target, drug, SITES, TEST_EVERY):
        np.savez(
            path,
            compound=compounds[drug[chosen]],
            protein=proteins[protein[chosen]],
            affinity=np.clip(score[chosen], LOW, HIGH).astype(np.float32),
            patient=names[drug[chosen]],
        )
        found = len(np.unique(drug[chosen]))
        sys.stdout.write(f"{path}: {found} compounds, {chosen.sum()} pairs\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn the public KIBA scores of kinase inhibitors into arrays.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with kiba.npz and the others")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
