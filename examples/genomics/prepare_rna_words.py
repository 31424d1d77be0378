"""Count words of public RNA windows and of a simple folding, as arrays of three sites for ``deepnet_rbp.yaml``.

    python examples/genomics/prepare_rna_words.py FILE OUT

FILE is ``liver.csv.gz`` or ``brain.csv.gz``: windows of 201 bases round an A, whether it carries a methyl group (m6A),
to which proteins bind, and whether a window is for training (https://github.com/waleed551/Fusion_m6A). OUT gets
``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

=============  =================  =============================================================================
array          shape              content
=============  =================  =============================================================================
``sequence``   (windows, 256)     how often each word of four bases occurs
``structure``  (windows, 81)      how often each word of four letters of the folding occurs
``motifs``     (windows, 8)       which hairpins there are: by the length of the loop, and of two known kinds
``label``      (windows,)         1 if the A is methylated
``patient``    (windows,)         the window: see below
=============  =================  =============================================================================

**What is protected.** Windows are of a reference genome, so a "patient" is a window: the study hides whether one
*window* was among those for training, and protects no person.

Rules:

* words are counted in the middle 41 bases, at whose middle the A is;
* the folding is no more than hairpins: S is a base that may pair in a stem of four pairs (also G with U) round a loop
  of three to eight bases, L a base of such a loop, U any other. The paper's programs find the folding of least energy
  and motifs in space;
* windows are dealt to the sites in turn, separately for training and test.
"""

import argparse
import sys
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

SITES: Final = 3
SIDE: Final = 20  # bases on either side of the A
WORD: Final = 4
STEM: Final = 4  # pairs
LOOPS: Final = range(3, 9)
PAIRS: Final = {"AT", "TA", "CG", "GC", "GT", "TG"}
KNOWN: Final = ("GNRA", "UNCG")
"""Loops of four bases that are common in ribosomes; N is any base, R is A or G."""


def count_words(text: str, alphabet: str) -> list[int]:
    """Count every word of four letters of ``alphabet`` in a text."""
    counts = dict.fromkeys(map("".join, product(alphabet, repeat=WORD)), 0)
    for start in range(len(text) - WORD + 1):
        if (word := text[start : start + WORD]) in counts:
            counts[word] += 1
    return list(counts.values())


def fold(bases: str) -> tuple[str, list[int]]:
    """Find all hairpins; return a letter for each base, and which kinds of loops there are."""
    letters, motifs = ["U"] * len(bases), [0] * (len(LOOPS) + len(KNOWN))
    for start in range(len(bases)):
        for number, length in enumerate(LOOPS):
            end = start + 2 * STEM + length
            if end > len(bases):
                break
            if any(bases[start + pair] + bases[end - 1 - pair] not in PAIRS for pair in range(STEM)):
                continue
            inside = range(start + STEM, end - STEM)
            for place in range(start, end):
                letters[place] = "S" if place not in inside or letters[place] == "S" else "L"
            motifs[number] = 1
            loop = bases[inside.start : inside.stop]
            if length == WORD and loop[0] == "G" and loop[2] in "AG" and loop[3] == "A":
                motifs[len(LOOPS)] = 1
            if length == WORD and loop[0] == "T" and loop[2:] == "CG":
                motifs[len(LOOPS) + 1] = 1
    return "".join(letters), motifs


def prepare(source: Path, target: Path) -> None:
    """Read the windows in ``source`` and write the files of all sites under ``target``."""
    table = pd.read_csv(source)
    middle = len(table["sequence"][0]) // 2
    parts: dict[str, list[Any]] = {"sequence": [], "structure": [], "motifs": []}
    for window in table["sequence"]:
        bases = window[middle - SIDE : middle + SIDE + 1]
        letters, motifs = fold(bases)
        parts["sequence"].append(count_words(bases, "ACGT"))
        parts["structure"].append(count_words(letters, "SLU"))
        parts["motifs"].append(motifs)
    arrays: dict[str, Any] = {name: np.array(values, dtype=np.float32) for name, values in parts.items()}
    arrays |= {"label": table["label"].to_numpy(), "patient": np.array([f"window-{n:04d}" for n in table.index])}
    for name in ("train", "test"):
        rows = np.flatnonzero(table["split"] == name)
        for site in range(SITES):
            folder = target / f"site-{site + 1}"
            folder.mkdir(parents=True, exist_ok=True)
            own = rows[site::SITES]
            np.savez(folder / f"{name}.npz", **{key: values[own] for key, values in arrays.items()})
            sys.stdout.write(f"{folder / name}.npz: {len(own)} windows\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Count words of public RNA windows.")
    parser.add_argument("source", type=Path, metavar="FILE", help="liver.csv.gz or brain.csv.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
