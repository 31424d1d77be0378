"""Turn public windows of primate genes, round splice junctions or not, into arrays for ``splice_response.yaml``.

    python examples/genomics/prepare_uci_junctions.py FILE OUT

FILE is ``uci_junctions.csv.gz``: the set "Molecular biology (splice-junction gene sequences)" of the UCI repository,
with the columns class, name and sequence. OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

============  ==================  ====================================================================
array         shape               content
============  ==================  ====================================================================
``sequence``  (windows, 4, 60)    one-hot letters A, C, G, T; a letter that is not known is 0 everywhere
``label``     (windows,)          0 exon to intron (EI), 1 intron to exon (IE), 2 neither (N)
``patient``   (windows,)          the window
============  ==================  ====================================================================

Rules:

* a sequence that stands there several times is one window; one with two different labels is left out;
* windows of one gene, the first part of their names, are on one side: at one site, and for training or for tests. Genes
  are dealt in turn, in the order of their names; every fifth one of a site is for tests.
"""

import argparse
import csv
import gzip
import sys
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SITES: Final = 3
TEST_EVERY: Final = 5  # one test gene in so many
CLASSES: Final = ("EI", "IE", "N")
BASES: Final = "ACGT"


class Window(NamedTuple):
    """A window of letters: its gene, its name, and the number of its class."""

    gene: str
    name: str
    letters: str
    label: int


def read_windows(source: Path) -> list[Window]:
    """Read the distinct windows that have one label each."""
    labels: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    for row in csv.DictReader(gzip.decompress(source.read_bytes()).decode().splitlines()):
        labels.setdefault(row["sequence"], set()).add(row["class"])
        names.setdefault(row["sequence"], row["name"])
    return [
        Window(names[letters].split("-")[0], names[letters], letters, CLASSES.index(next(iter(found))))
        for letters, found in labels.items()
        if len(found) == 1
    ]


def encode(letters: str) -> NDArray[np.uint8]:
    """Return one-hot letters, (4, length)."""
    encoded: NDArray[np.uint8] = (np.array(list(letters)) == np.array(list(BASES))[:, None]).astype(np.uint8)
    return encoded


def prepare(source: Path, target: Path) -> None:
    """Read the windows in ``source`` and write the files of all sites under ``target``."""
    windows = read_windows(source)
    places = {gene: place for place, gene in enumerate(sorted({each.gene for each in windows}))}
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        own = [each for each in windows if places[each.gene] % SITES == site]
        tested = [places[each.gene] // SITES % TEST_EVERY == 0 for each in own]
        for name, part in (("train", False), ("test", True)):
            chosen = [each for each, held in zip(own, tested, strict=True) if held == part]
            np.savez(
                folder / f"{name}.npz",
                sequence=np.stack([encode(each.letters) for each in chosen]),
                label=np.array([each.label for each in chosen]),
                patient=np.array([each.name for each in chosen]),
            )
            sys.stdout.write(f"{folder / name}.npz: {len(chosen)} windows\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn public windows round splice junctions into arrays.")
    parser.add_argument("source", type=Path, metavar="FILE", help="uci_junctions.csv.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
