"""Deal public tumours of nine types to three sites, as arrays for ``cancer_type.yaml``.

    python examples/genomics/prepare_pancan.py FILE OUT

FILE is ``pancan_types.npz``: the expression of 7,091 genes in 135 tumours of TCGA, fifteen of each of nine types, as
log2(RSEM + 1). OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

============  ==================  =====================================================
array         shape               content
============  ==================  =====================================================
``features``  (tumours, 7091)     each gene's expression, as the source has it
``label``     (tumours,)          the type of the tumour, 0 to 8
``patient``   (tumours,)          the tumour, which is a patient's
============  ==================  =====================================================

Tumours of a type are dealt to the sites in turn. Every third one of a site is a test tumour, which leaves it four of
each type for training.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np

SITES: Final = 3
EVERY: Final = 3
"""Every so many tumours of a type at a site, the last one is a test tumour."""


def prepare(source: Path, target: Path) -> None:
    """Read the tumours in ``source`` and write the files of all sites under ``target``."""
    with np.load(source) as arrays:
        expression, types = arrays["expression"].astype(np.float32), arrays["cancer"].astype(np.int64)
    place = np.empty(len(types), dtype=np.int64)  # of each tumour among those of its type
    for each in np.unique(types):
        place[types == each] = np.arange((types == each).sum())
    tested = place // SITES % EVERY == EVERY - 1
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        own = place % SITES == site
        for name, rows in (("train", np.flatnonzero(own & ~tested)), ("test", np.flatnonzero(own & tested))):
            patient = np.array([f"tumour-{row:03d}" for row in rows])
            np.savez(folder / f"{name}.npz", features=expression[rows], label=types[rows], patient=patient)
            sys.stdout.write(f"{folder / name}.npz: {len(rows)} tumours\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Deal public tumours of nine types to three sites.")
    parser.add_argument("source", type=Path, metavar="FILE", help="pancan_types.npz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
