"""Turn public windows of the human genome, open or closed in a cell line, into arrays for ``deep_motif.yaml``.

    python examples/genomics/prepare_open_windows.py FOLDER OUT

FOLDER has ``intervals.10k.fasta.gz`` and ``intervals.10k.bed.gz``, those of ``prepare_open_chromatin.py``, which makes
files of hospitals from them. OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

============  ====================  =======================================================================
array         shape                 content
============  ====================  =======================================================================
``sequence``  (windows, 4, 201)     one-hot letters A, C, G, T of the middle; 0 for a letter not known
``label``     (windows,)            1 if DNase finds the window open in the cell line GM12878
``patient``   (windows,)            the window
============  ====================  =======================================================================

Windows are dealt in turn, in the order of the file; every fourth one of a site is for tests.
"""

import argparse
import gzip
import sys
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

SITES: Final = 3
TEST_EVERY: Final = 4  # one test window in so many
LENGTH: Final = 201
BASES: Final = "ACGT"


def encode(letters: str) -> NDArray[np.uint8]:
    """Return the one-hot letters in the middle; (4, LENGTH)."""
    start = (len(letters) - LENGTH) // 2
    middle = np.array(list(letters[start : start + LENGTH].upper()))
    encoded: NDArray[np.uint8] = (middle == np.array(list(BASES))[:, None]).astype(np.uint8)
    return encoded


def prepare(source: Path, target: Path) -> None:
    """Read the windows in ``source`` and write the files of all sites under ``target``."""
    rows = gzip.decompress((source / "intervals.10k.bed.gz").read_bytes()).decode().splitlines()
    labels = {f"{chrom}:{start}-{end}": int(word) for chrom, start, end, word in map(str.split, rows)}
    records = gzip.decompress((source / "intervals.10k.fasta.gz").read_bytes()).decode().split(">")[1:]
    windows = [(name, letters.replace("\n", "")) for name, _, letters in (each.partition("\n") for each in records)]
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        own = windows[site::SITES]
        for name, part in (("train", False), ("test", True)):
            chosen = [each for place, each in enumerate(own) if (place % TEST_EVERY == 0) == part]
            found = np.array([labels[window] for window, _ in chosen])
            np.savez(
                folder / f"{name}.npz",
                sequence=np.stack([encode(letters) for _, letters in chosen]),
                label=found,
                patient=np.array([window for window, _ in chosen]),
            )
            sys.stdout.write(f"{folder / name}.npz: {len(chosen)} windows, {found.sum()} of them open\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn public windows of the human genome into arrays.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with intervals.10k.fasta.gz and .bed.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
