"""Turn public histone-mark counts around genes into arrays for ``deepchrome.yaml`` and ``attentive_chrome.yaml``.

    python examples/genomics/prepare_histone.py FOLDER OUT

FOLDER has the files of one cell type as AttentiveChrome's authors gave them
(https://github.com/QData/AttentiveChrome): ``Cell1.train.csv.gz``, ``.valid`` and ``.test`` with a row for each
bin of each gene (gene and bin, then reads of five marks), and ``Cell1.expr.csv.gz`` with the reads of each gene's
RNA. OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

===========  ==================  =====================================================================
array        shape               content
===========  ==================  =====================================================================
``signals``  (genes, 5, 100)     log(1 + reads) of each mark in 100 bins around the gene's start
``label``    (genes,)            1 if the gene has more RNA than a public threshold
``patient``  (genes,)            the gene: see below
===========  ==================  =====================================================================

**What is protected.** Here everything is one cell type, and a "patient" is a gene: the study hides whether one
*gene* was among the training genes. That shows how the model runs, and protects no person. With data of persons,
each person has a record for every gene; then ``patient`` names the person, so that all their genes are clipped
together, and ``data.records_per_patient`` is the number of genes.

Rules:

* the file has 200 bins; two neighbours are added, which gives the 100 bins of the papers;
* the threshold is a constant: a median would be read from the data;
* genes are dealt to the sites in the order of their identifiers. Genes of the files ``train`` and ``valid`` are
  for training, those of ``test`` for tests.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

SITES: Final = 3
MARKS: Final = 5
BINS: Final = 100
THRESHOLD: Final = 1000  # reads of a gene's RNA


def read_signals(path: Path) -> tuple[list[str], np.ndarray[tuple[int, int, int], np.dtype[np.float32]]]:
    """Read the genes of a file, and the logarithm of their reads, (genes, marks, bins)."""
    table = pd.read_csv(path, header=None)
    genes = [name.split("_")[0] for name in table[0]]
    counts = table.iloc[:, 1:].to_numpy()  # (genes * bins, marks)
    unique = list(dict.fromkeys(genes))
    bins = len(table) // len(unique)
    if genes != [gene for gene in unique for _ in range(bins)] or bins % BINS or counts.shape[1] != MARKS:
        raise SystemExit(
            f"{path}: expected {MARKS} marks and a multiple of {BINS} neighbouring rows for every gene"
        )
    added = counts.reshape(len(unique), BINS, bins // BINS, MARKS).sum(2)  # (genes, bins, marks)
    return unique, np.log1p(added).transpose(0, 2, 1).astype(np.float32)


def prepare(source: Path, target: Path, cell: str) -> None:
    """Read the files of ``cell`` in ``source`` and write the files of all sites under ``target``."""
    expression = pd.read_csv(source / f"{cell}.expr.csv.gz", header=None, index_col=0)[1]
    parts = {"train": ("train", "valid"), "test": ("test",)}
    for name, files in parts.items():
        read = [read_signals(source / f"{cell}.{file}.csv.gz") for file in files]
        genes = np.array([gene for some, _ in read for gene in some])
        signals = np.concatenate([values for _, values in read])
        label = (expression.loc[genes] > THRESHOLD).to_numpy().astype(np.uint8)
        turn = np.argsort(np.argsort(genes)) % SITES  # (genes,) the site of each gene
        for site in range(SITES):
            folder = target / f"site-{site + 1}"
            folder.mkdir(parents=True, exist_ok=True)
            own = turn == site
            np.savez(folder / f"{name}.npz", signals=signals[own], label=label[own], patient=genes[own])
            sys.stdout.write(f"{folder / name}.npz: {own.sum()} genes, {label[own].mean():.3f} of them expressed\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn public histone-mark counts around genes into arrays.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with Cell1.train.csv.gz and the others")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    parser.add_argument("--cell", default="Cell1", help="the beginning of the files' names (default: %(default)s)")
    asked = parser.parse_args()
    prepare(asked.source, asked.target, asked.cell)
