"""Generate pairs of an enhancer and a promoter for ``speid.yaml``.

    python examples/genomics/prepare_enhancer_promoter.py OUT

**These pairs are generated: they are nobody's, and no figure of them says anything of genomes.** They show that the
model can learn what the letters of both must say together.

OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

============  ================  ======================================================================
array         shape             content
============  ================  ======================================================================
``enhancer``  (pairs, 4, 120)   one-hot letters, equally often each; 7 of 10 have the word GATAAGCA
``promoter``  (pairs, 4, 80)    the same; 7 of 10 have the word CCACGTGG
``label``     (pairs,)          1 if both words are there
``patient``   (pairs,)          the pair
============  ================  ======================================================================

Letters, words and their places are drawn by a fixed seed.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

SITES: Final = 3
TRAIN, TEST = 800, 400
WORDS: Final = {"enhancer": (120, "GATAAGCA"), "promoter": (80, "CCACGTGG")}
OFTEN: Final = 0.7


def draw_sequences(
    random: np.random.Generator, count: int, length: int, word: str
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one-hot sequences, (count, 4, length), and which of them have the word."""
    letters = random.integers(0, 4, (count, length))
    has = random.random(count) < OFTEN
    numbers = ["ACGT".index(letter) for letter in word]
    for row in np.flatnonzero(has):
        at = random.integers(0, length - len(word) + 1)
        letters[row, at : at + len(word)] = numbers
    return np.stack([letters == base for base in range(4)], axis=1).astype(np.uint8), has


def prepare(target: Path) -> None:
    """Write the files of all sites under ``target``."""
    random = np.random.default_rng(0)
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for part, count in (("train", TRAIN), ("test", TEST)):
            drawn = {name: draw_sequences(random, count, *words) for name, words in WORDS.items()}
            label = drawn["enhancer"][1] & drawn["promoter"][1]
            np.savez(
                folder / f"{part}.npz",
                enhancer=drawn["enhancer"][0],
                promoter=drawn["promoter"][0],
                label=label.astype(np.uint8),
                patient=np.array([f"{folder.name}-{part}-{row}" for row in range(count)]),
            )
            sys.stdout.write(f"{folder / part}.npz: {count} generated pairs, {label.mean():.3f} in contact\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Generate pairs of an enhancer and a promoter.")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    prepare(parser.parse_args().target)
