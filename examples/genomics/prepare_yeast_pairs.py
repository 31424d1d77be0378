"""Turn public promoters of yeast and what they express into pairs, for ``expression_contrast.yaml``.

    python examples/genomics/prepare_yeast_pairs.py FILE OUT

FILE is ``yeast_native.tsv.gz``: 9,000 pieces of 120 letters of yeast's promoters, each with the expression that was
measured with it (columns sequence and EL.combined; de Boer et al. 2020). The first and the last 20 letters are those of
the vector. OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

============  ================  ======================================================
array         shape             content
============  ================  ======================================================
``first``     (pairs, 4, 80)    one-hot letters A, C, G, T of a promoter
``second``    (pairs, 4, 80)    the same of another one
``higher``    (pairs,)          1 if the first expresses more
``patient``   (pairs,)          the pair
============  ================  ======================================================

Rules:

* a promoter stands in one pair only, and both promoters of a pair are of one site, and both for training or for tests;
* promoters whose 80 letters agree stand once. Who is with whom, and which of them is first, is drawn from a fixed seed;
* pairs with equal expression are left out.
"""

import argparse
import csv
import gzip
import sys
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

SITES: Final = 3
TEST_EVERY: Final = 5  # one test pair in so many
VECTOR: Final = 20  # letters at each end
BASES: Final = "ACGT"


def encode(letters: str) -> NDArray[np.uint8]:
    """Return one-hot letters, (4, length)."""
    encoded: NDArray[np.uint8] = (np.array(list(letters)) == np.array(list(BASES))[:, None]).astype(np.uint8)
    return encoded


def prepare(source: Path, target: Path) -> None:
    """Read the promoters in ``source`` and write the files of all sites under ``target``."""
    rows = csv.DictReader(gzip.decompress(source.read_bytes()).decode().splitlines(), delimiter="\t")
    expression = {row["sequence"][VECTOR:-VECTOR]: float(row["EL.combined"]) for row in rows}
    letters = list(expression)
    order = np.random.default_rng(0).permutation(len(letters) // 2 * 2).reshape(-1, 2).tolist()
    pairs = [(letters[one], letters[other]) for one, other in order]
    pairs = [pair for pair in pairs if expression[pair[0]] != expression[pair[1]]]
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        own = list(enumerate(pairs))[site::SITES]
        for name, part in (("train", False), ("test", True)):
            chosen = [pair for place, (_, pair) in enumerate(own) if (place % TEST_EVERY == 0) == part]
            numbers = [number for place, (number, _) in enumerate(own) if (place % TEST_EVERY == 0) == part]
            np.savez(
                folder / f"{name}.npz",
                first=np.stack([encode(one) for one, _ in chosen]),
                second=np.stack([encode(other) for _, other in chosen]),
                higher=np.array([int(expression[one] > expression[other]) for one, other in chosen]),
                patient=np.array([f"pair-{number:04d}" for number in numbers]),
            )
            sys.stdout.write(f"{folder / name}.npz: {len(chosen)} pairs\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn public promoters of yeast into pairs.")
    parser.add_argument("source", type=Path, metavar="FILE", help="yeast_native.tsv.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
