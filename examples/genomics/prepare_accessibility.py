"""Turn public windows of the human genome into arrays for ``basset.yaml``.

    python examples/genomics/prepare_accessibility.py FOLDER OUT [--tested 0]

FOLDER has ``intervals.10k.fasta.gz`` and ``intervals.10k.bed.gz``, as ``prepare_open_chromatin.py`` reads them: 10,000
windows of three chromosomes, and whether DNase finds them open in the cell line GM12878. OUT gets ``site-1`` to
``site-4``, each with ``train.npz`` and ``test.npz``:

============  ===================  ============================================================================
array         shape                content
============  ===================  ============================================================================
``sequence``  (windows, 4, 600)    the middle 600 of the window's 1,000 bases, one-hot in the order A, C, G, T
``label``     (windows,)           1 if the window is open
``patient``   (windows,)           the window: see ``open_chromatin.yaml``
============  ===================  ============================================================================

Windows overlap, so they are dealt by stretches of 5 million bases: in turn to the sites, every fifth stretch for tests.
``--tested`` names the fifth, 0 to 4: one of them has 94 to 128 open windows, too few to tell close models apart.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from prepare_open_chromatin import Window, read_windows

SITES: Final = 4
BASES: Final = 600
TEST_EVERY: Final = 5
STRETCH: Final = 5_000_000


def find_stretch(window: Window) -> tuple[str, int]:
    """Find the chromosome, and the number of the stretch on it."""
    chrom, _, place = window.name.partition(":")
    return chrom, int(place.partition("-")[0]) // STRETCH


def encode(letters: str) -> np.ndarray[Any, Any]:
    """Encode the middle of ``letters``; (4, BASES)."""
    begin = (len(letters) - BASES) // 2
    middle = np.array(list(letters[begin : begin + BASES].upper()))
    return np.stack([middle == base for base in "ACGT"]).astype(np.uint8)


def prepare(source: Path, target: Path, tested: int = 0) -> None:
    """Read the windows in ``source`` and write the files of all sites under ``target``; ``tested`` is the fifth."""
    windows = read_windows(source)
    stretches = sorted({find_stretch(each) for each in windows})
    number = np.array([stretches.index(find_stretch(each)) for each in windows])
    sequence = np.stack([encode(each.letters) for each in windows])
    label = np.array([int(each.open) for each in windows])
    names = np.array([each.name for each in windows])
    held_out = number % TEST_EVERY == tested
    site_of = number // TEST_EVERY % SITES * held_out + number % SITES * ~held_out
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for part, rows in (("train", ~held_out), ("test", held_out)):
            own = rows & (site_of == site)
            np.savez(folder / f"{part}.npz", sequence=sequence[own], label=label[own], patient=names[own])
            sys.stdout.write(f"{folder / part}.npz: {own.sum()} windows, {label[own].sum()} of them open\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn public windows of the human genome into arrays.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with intervals.10k.fasta.gz and .bed.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    parser.add_argument("--tested", type=int, choices=range(TEST_EVERY), default=0, help="which fifth is for tests")
    asked = parser.parse_args()
    prepare(asked.source, asked.target, asked.tested)
