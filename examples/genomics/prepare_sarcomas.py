"""Deal public sarcomas to three sites, as arrays for ``d_gex.yaml``.

    python examples/genomics/prepare_sarcomas.py FOLDER OUT

FOLDER has two files of arrays of one make (U133A), with 943 landmark genes of D-GEX and 2,000 of its target genes as
log2 signals: ``u133a_sarcoma.npz``, 105 tumours of ten types, and ``u133a_blood.npz``, 31 samples of blood. The blood
is a public reference: what the sites' files have is each gene less its mean there. OUT gets ``site-1`` to ``site-3``,
each with ``train.npz`` and ``test.npz``:

============  ==================  ============================================
array         shape               content
============  ==================  ============================================
``features``  (tumours, 943)      the landmark genes, less the reference
``label``     (tumours, 200)      every tenth target gene, less the reference
``patient``   (tumours,)          the tumour, which is a patient's
============  ==================  ============================================

Every fifth tumour is a test tumour; tumours are dealt in turn, in the order of the file.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np

SITES: Final = 3
EVERY: Final = 5
"""Every so many tumours, the last one is a test tumour."""
TARGETS: Final = 10
"""Every so many target genes, the first one is kept: with so few patients, privacy leaves nothing of 2,000."""


def prepare(source: Path, target: Path) -> None:
    """Read the samples in ``source`` and write the files of all sites under ``target``."""
    with np.load(source / "u133a_sarcoma.npz") as tumours, np.load(source / "u133a_blood.npz") as blood:
        features, label = (
            (tumours[name].astype(np.float64) - blood[name].mean(0, dtype=np.float64)).astype(np.float32)
            for name in ("landmark", "target")
        )
    label, numbers = label[:, ::TARGETS], np.arange(len(features))
    tested = numbers % EVERY == EVERY - 1
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in (("train", numbers[~tested]), ("test", numbers[tested])):
            rows = part[site::SITES]
            patient = np.array([f"tumour-{row:03d}" for row in rows])
            np.savez(folder / f"{name}.npz", features=features[rows], label=label[rows], patient=patient)
            sys.stdout.write(f"{folder / name}.npz: {len(rows)} tumours\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Deal public sarcomas to three sites.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with u133a_sarcoma.npz and u133a_blood.npz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
