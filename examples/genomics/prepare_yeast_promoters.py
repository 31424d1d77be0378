"""Turn public promoters of yeast and the expression they give into arrays for ``xpresso.yaml`` and ``expecto.yaml``.

    python examples/genomics/prepare_yeast_promoters.py yeast_native.tsv.gz OUT

The file has 9,000 stretches of yeast promoters, 120 letters each, and the expression of a reporter gene behind each of
them, in two replicates and combined (https://github.com/yeastpro/ExpressYeaself). OUT gets ``site-1`` to ``site-4``,
each with ``train.npz`` and ``test.npz``:

==============  =====================  ======================================================================
array           shape                  content
==============  =====================  ======================================================================
``promoter``    (promoters, 4, 120)    one-hot in the order A, C, G, T
``features``    (promoters, 1)         the share of G and C
``expression``  (promoters,)           the combined expression; set to 0 or 18 if beyond
``patient``     (promoters,)           the group of promoters: see below
==============  =====================  ======================================================================

**What is protected.** A "patient" is a group of promoters that share a stretch of 20 letters: nearly always one
promoter. The study protects a promoter, and nobody. With expression of persons, ``patient`` names the person, and all
their genes are clipped together.

Rules:

* promoters with 20 letters in common are copies or neighbours in the genome: a group is at one site, and in training or
  in tests. Groups are dealt in turn, every fifth of a site for tests;
* the reporter's RNA is the same everywhere, so that features of half-life would tell nothing. The share of G and C,
  which the letters tell already, is in their place.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

SITES: Final = 4
TEST_EVERY: Final = 5
SHARED: Final = 20  # letters in common, besides the ends that all promoters have
LOW, HIGH = 0.0, 18.0


def group_promoters(words: list[str]) -> list[int]:
    """Number the groups of ``words`` that share a stretch, in the order of their first word."""
    parent, owner = list(range(len(words))), dict[str, int]()

    def find(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    begin, end = count_common_ends(words)
    for number, word in enumerate(words):
        for at in range(begin, len(word) - end - SHARED + 1):
            other = find(owner.setdefault(word[at : at + SHARED], number))
            mine = find(number)
            parent[max(mine, other)] = min(mine, other)
    return [find(number) for number in range(len(words))]


def count_common_ends(words: list[str]) -> tuple[int, int]:
    """Count the letters that all ``words`` have in common at their beginning and at their end."""
    columns = [len(set(column)) > 1 for column in zip(*words, strict=True)]
    return columns.index(True), columns[::-1].index(True)


def encode(words: list[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Encode words of one length; (words, 4, letters)."""
    letters = np.array([list(word) for word in words])
    return np.stack([letters == base for base in "ACGT"], axis=1).astype(np.uint8)


def prepare(source: Path, target: Path) -> None:
    """Read the promoters in ``source`` and write the files of all sites under ``target``."""
    table = pd.read_csv(source, sep="\t")
    words = table["sequence"].tolist()
    groups = np.array(group_promoters(words))
    order = np.unique(groups, return_inverse=True)[1]
    held_out, site_of = order // SITES % TEST_EVERY == 0, order % SITES
    promoter = encode(words)
    features = promoter[:, 1:3].sum((1, 2))[:, None] / promoter.shape[2]
    expression = table["EL.combined"].clip(LOW, HIGH).to_numpy(dtype=np.float32)
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for part, rows in (("train", ~held_out), ("test", held_out)):
            own = rows & (site_of == site)
            np.savez(
                folder / f"{part}.npz",
                promoter=promoter[own],
                features=features[own].astype(np.float32),
                expression=expression[own],
                patient=np.array([f"promoter-{group}" for group in groups[own]]),
            )
            found = len(np.unique(groups[own]))
            sys.stdout.write(f"{folder / part}.npz: {own.sum()} promoters in {found} groups\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn public promoters of yeast into arrays.")
    parser.add_argument("source", type=Path, metavar="FILE", help="yeast_native.tsv.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
