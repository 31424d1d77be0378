"""Deal public breast tumours to three hospitals as arrays, for ``drug_combo.yaml``.

    python examples/drugs/prepare_drug_combo.py brca_er.npz OUT

``brca_er.npz`` has the expression of 250 genes in 520 tumours and their oestrogen receptor (the data set
breastcancer2012 of https://github.com/cran/netgsa). OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and
``test.npz``: ``genes`` (tumours, 250), ``label``, 1 with the receptor, and ``patient``. Tumours are dealt in turn;
every fifth one of a site is for tests.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
from deal_sites import deal

SITES: Final = 3
TEST_EVERY: Final = 5  # one test patient in so many
LARGEST: Final = 4.0  # doublings
_POSITIVE: Final = 1  # of ``group``; 2 is a tumour without the receptor


def prepare(source: Path, target: Path) -> None:
    """Read the tumours in ``source`` and write the files of all sites under ``target``."""
    with np.load(source) as arrays:
        values = arrays["expression"].astype(np.float32).clip(-LARGEST, LARGEST)
        label = (arrays["group"] == _POSITIVE).astype(np.int64)
    numbers = np.arange(len(label))
    for path, here in deal(target, numbers, SITES, TEST_EVERY):
        chosen = numbers[here]
        patient = np.array([f"tumour-{number}" for number in chosen])
        np.savez(path, genes=values[chosen], label=label[chosen], patient=patient)
        sys.stdout.write(f"{path}: {len(chosen)} tumours, {label[chosen].sum()} positive\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Deal public breast tumours to three hospitals as arrays.")
    parser.add_argument("source", type=Path, metavar="brca_er.npz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
