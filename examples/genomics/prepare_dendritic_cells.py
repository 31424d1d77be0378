"""Deal public dendritic cells to four sites, as arrays for ``late.yaml``.

    python examples/genomics/prepare_dendritic_cells.py FILE OUT

FILE is ``mdc.npz``: the expression of 821 genes in 383 mouse cells, taken one, two, four and six hours after they met a
bacterial lipid (BEELINE's set mDC). OUT gets a site for each of the four times, with ``train.npz`` and ``test.npz``:

============  ===============  ==============================================================================
array         shape            content
============  ===============  ==============================================================================
``seen``      (cells, 821)     the logarithms of what was counted; 0 for none. In test cells one in ten of the values
                               above 0 is hidden: it is 0 too
``truth``     (cells, 821)     the same, of which nothing is hidden
``counted``   (cells, 821)     training cells: values above 0; test cells: values that are hidden
``patient``   (cells,)         the cell: see below
============  ===============  ==============================================================================

So a network is trained to give back what was seen, and judged by what it did not see.

**What is protected.** The set does not say of which animal a cell is, so a "patient" is a cell here, and the study
protects no animal and no person. With cells of donors ``patient`` names the donor, and ``data.records_per_patient``
says how many cells of a donor count.

Every fourth cell of a time is a test cell.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np

HOURS: Final = ("1h", "2h", "4h", "6h")
EVERY: Final = 4
HIDDEN: Final = 0.1
"""The part of a test cell's values above 0 that is hidden."""


def prepare(source: Path, target: Path) -> None:
    """Read the cells in ``source`` and write the files of all sites under ``target``."""
    with np.load(source) as arrays:
        truth, names = arrays["expression"].T.astype(np.float32), arrays["cell"].tolist()  # (cells, genes)
    hidden = (truth > 0) & (np.random.default_rng(0).random(truth.shape) < HIDDEN)
    for number, hour in enumerate(HOURS, start=1):
        cells = np.array([row for row, name in enumerate(names) if name.split("_")[1] == hour])
        tested = np.arange(len(cells)) % EVERY == EVERY - 1
        folder = target / f"site-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in (("train", cells[~tested]), ("test", cells[tested])):
            whole, patient = truth[rows], np.array([names[row] for row in rows])
            counted = hidden[rows] if name == "test" else whole > 0
            seen = np.where(hidden[rows], 0, whole) if name == "test" else whole
            np.savez(folder / f"{name}.npz", seen=seen, truth=whole, counted=counted, patient=patient)
            sys.stdout.write(f"{folder / name}.npz: {len(rows)} cells, {counted.sum()} values count\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Deal public dendritic cells to four sites.")
    parser.add_argument("source", type=Path, metavar="FILE", help="mdc.npz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
