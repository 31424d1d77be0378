"""Turn public windows of RNA, with methylated adenosines or not, into arrays for ``gene2vec.yaml``.

    python examples/genomics/prepare_m6a.py FOLDER OUT

FOLDER has ``liver.csv.gz`` and ``brain.csv.gz`` (https://github.com/waleed551/Fusion_m6A): 201 letters round an
adenosine, whether it is methylated, and whether the window is for training or for tests. OUT gets ``liver``,
``brain-1`` and ``brain-2``, each with ``train.npz`` and ``test.npz``:

============  =================  ==============================================================================
array         shape              content
============  =================  ==============================================================================
``sequence``  (windows, 201)     letters by number: A 1, C 2, G 3, U 4
``label``     (windows,)         1 if the adenosine in the middle is methylated
``patient``   (windows,)         the window: see below
============  =================  ==============================================================================

**What is protected.** A "patient" is a window, so that the study protects no person. With RNA of persons, ``patient``
names the person, so that all their windows are clipped together.

Rules:

* 113 windows are in both files. The brain's copies are left out, so that none is at two sites, or in training and test;
* the windows of the brain are dealt to its two sites in turn.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

_NUMBERS: Final = {letter: 1 + place for place, letter in enumerate("ACGT")}
_SITES: Final = {"liver": ("liver",), "brain": ("brain-1", "brain-2")}


def prepare(source: Path, target: Path) -> None:
    """Read the windows in ``source`` and write the files of all sites under ``target``."""
    seen: set[str] = set()
    for tissue, sites in _SITES.items():
        table = pd.read_csv(source / f"{tissue}.csv.gz")
        table = table[~table["sequence"].isin(seen)].reset_index(drop=True)
        seen |= set(table["sequence"])
        table["patient"] = [f"{tissue}-{row}" for row in range(len(table))]
        for number, site in enumerate(sites):
            folder, own = target / site, table[number :: len(sites)]
            folder.mkdir(parents=True, exist_ok=True)
            for part, rows in own.groupby("split"):
                sequence = np.array([[_NUMBERS[letter] for letter in word] for word in rows["sequence"]], np.int64)
                label = rows["label"].to_numpy()
                patient = rows["patient"].to_numpy(dtype=str)
                np.savez(folder / f"{part}.npz", sequence=sequence, label=label, patient=patient)
                sys.stdout.write(f"{folder / str(part)}.npz: {len(rows)} windows, {label.mean():.3f} methylated\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn public windows of RNA into arrays.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with liver.csv.gz and brain.csv.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
