"""Make histograms of gene pairs from public dendritic cells, as arrays of three sites for ``cnnc.yaml``.

    python examples/genomics/prepare_gene_pairs.py FILE OUT
    python examples/genomics/prepare_gene_pairs.py FILE OUT --matched

FILE is ``mdc.npz``: the expression of 821 genes in 383 mouse cells, as logarithms, and 3,067 pairs of a transcription
factor and a gene that it acts on (BEELINE's set mDC). OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and
``test.npz``:

=============  ====================  ==============================================================================
array          shape                 content
=============  ====================  ==============================================================================
``histogram``  (pairs, 1, 32, 32)    (log10(h + 0.0001) + 4) / 4 of the share h of the cells whose expression of the
                                     factor is in the row's bin, and of the gene in the column's
``label``      (pairs,)              1 if the factor acts on the gene
``patient``    (pairs,)              the factor: see below
=============  ====================  ==============================================================================

**What is protected.** All cells are in every histogram, and the set has no donors. A "patient" is a transcription
factor: the study hides what is known of one *factor*, and protects no animal and no person.

Rules:

* the 32 bins are fixed, from 0 to 8 in steps of a quarter; what lies above is in the last one;
* a factor has up to 25 of the genes that it acts on, and as many that it does not act on. As in the paper these are
  any genes. With ``--matched`` they are drawn as often as factors act on them, so that a gene's own expression, which
  tells how often that is, tells the label no more;
* factors are dealt to the sites in turn, and every fifth one of a site is a test factor: no factor is in two files.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

SITES: Final = 3
EVERY: Final = 5
BINS: Final = 32
TOP: Final = 8.0
MOST: Final = 25
"""Genes of a factor with each label, at most."""


def choose_pairs(edges: Any, genes: int, *, matched: bool) -> list[tuple[int, int, int]]:
    """Choose pairs of a factor and a gene, and whether the one acts on the other."""
    random, pairs = np.random.default_rng(0), list[tuple[int, int, int]]()
    often = np.bincount(edges[:, 1], minlength=genes) if matched else np.ones(genes)
    for factor in np.unique(edges[:, 0]):
        targets = np.setdiff1d(edges[edges[:, 0] == factor, 1], factor)
        chosen = random.permutation(targets)[:MOST]
        weights = often.astype(float)
        weights[[factor, *targets]] = 0
        others = random.choice(genes, len(chosen), replace=False, p=weights / weights.sum())
        pairs += [(int(factor), int(gene), 1) for gene in chosen] + [(int(factor), int(gene), 0) for gene in others]
    return pairs


def make_histogram(rows: Any, columns: Any) -> Any:
    """Make the histogram of two genes from the bins of each cell; (1, 32, 32)."""
    counts = np.zeros((BINS, BINS))
    np.add.at(counts, (rows, columns), 1)
    return ((np.log10(counts / len(rows) + 1e-4) + 4) / 4).astype(np.float32)[None]


def prepare(source: Path, target: Path, *, matched: bool) -> None:
    """Read the cells in ``source`` and write the files of all sites under ``target``."""
    with np.load(source) as arrays:
        expression, edges = arrays["expression"].astype(np.float64), arrays["edge"].astype(np.int64)
    bins = np.clip((expression * BINS / TOP).astype(np.int64), 0, BINS - 1)  # (genes, cells)
    pairs = choose_pairs(edges, len(bins), matched=matched)
    factors = sorted({factor for factor, _, _ in pairs})
    place = {factor: number for number, factor in enumerate(factors)}
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        own = [each for each in pairs if place[each[0]] % SITES == site]
        for name in ("train", "test"):
            part = [each for each in own if (place[each[0]] // SITES % EVERY == EVERY - 1) == (name == "test")]
            np.savez(
                folder / f"{name}.npz",
                histogram=np.stack([make_histogram(bins[factor], bins[gene]) for factor, gene, _ in part]),
                label=np.array([label for _, _, label in part], dtype=np.int64),
                patient=np.array([f"factor-{factor:03d}" for factor, _, _ in part]),
            )
            known = len({factor for factor, _, _ in part})
            sys.stdout.write(f"{folder / name}.npz: {known} factors, {len(part)} pairs\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make histograms of gene pairs from public cells.")
    parser.add_argument("source", type=Path, metavar="FILE", help="mdc.npz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    parser.add_argument("--matched", action="store_true", help="draw other genes as often as factors act on them")
    asked = parser.parse_args()
    prepare(asked.source, asked.target, matched=asked.matched)
