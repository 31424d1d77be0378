"""Turn public expression of stem cells, measured in four studies, into arrays for ``adage.yaml``.

    python examples/genomics/prepare_stemcells.py FILE OUT

FILE is ``stemcells.npz`` with the arrays of the data set ``stemcells`` of mixOmics (Rohart et al. 2017): expression
of 400 genes in 125 samples of fibroblasts and stem cells, and the study of each. The four studies differ in how they
measured, as hospitals do. OUT gets ``site-1`` to ``site-4``, one for each study, with ``train.npz`` and ``test.npz``:

============  ===================  =================================================
array         shape                content
============  ===================  =================================================
``features``  (samples, 400)       each gene's expression, as the source has it
``patient``   (samples,)           the sample
============  ===================  =================================================

**These are 125 samples: few for what a model without privacy learns from, and very few with it.** The paper trained
on 950. A study of patients has their expression in the same form, with their own genes.

Every fourth sample of a study is a test sample.
"""

import argparse
import sys
from pathlib import Path

import numpy as np


def prepare(source: Path, target: Path) -> None:
    """Read the data set in ``source`` and write the files of all sites under ``target``."""
    with np.load(source) as arrays:
        expression, studies = arrays["expression"].astype(np.float32), arrays["study"]
    for study in np.unique(studies).tolist():
        rows = np.flatnonzero(studies == study)
        tested = np.arange(len(rows)) % 4 == 3
        folder = target / f"site-{study + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, chosen in (("train", rows[~tested]), ("test", rows[tested])):
            ids = np.array([f"sample-{row:03d}" for row in chosen])
            np.savez(folder / f"{name}.npz", features=expression[chosen], patient=ids)
            sys.stdout.write(f"{folder / name}.npz: {len(ids)} samples, {expression.shape[1]} genes\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn public expression of stem cells into arrays.")
    parser.add_argument("source", type=Path, metavar="FILE", help="stemcells.npz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
