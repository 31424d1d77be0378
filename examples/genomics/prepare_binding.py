"""Plant motifs in public windows of the human genome, and deal invented assays to three sites, for ``tfimpute.yaml``.

    python examples/genomics/prepare_binding.py FOLDER OUT

FOLDER has ``intervals.10k.fasta.gz``, 10,000 windows of 1,000 bases, of which the 60 in the middle are used. OUT gets
``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

============  ===================  =================================================
array         shape                content
============  ===================  =================================================
``sequence``  (records, 4, 60)     one-hot letters A, C, G, T
``factor``    (records,)           the transcription factor, 0 to 7
``cell``      (records,)           the cell, 0 to 5
``bound``     (records,)           1 if the factor binds
``patient``   (records,)           the record
============  ===================  =================================================

**Letters are public, binding is invented**: no person is protected. The rule:

* there are four motifs, and two factors bind each. A cell silences one or two motifs: there nothing binds them;
* a record is a window of its own, with a factor and a cell. Its factor's motif is planted in half of the windows, and
  one of the other motifs in half of them, each at a random place and on a random strand;
* a factor binds where its motif was planted and the cell does not silence it;
* 8 of the 48 pairs of factor and cell are for tests, and no site has them for training. The others are dealt to the
  sites in turn. So a model must learn the cell from one factor of a motif, and use it for the other.
"""

import argparse
import gzip
import sys
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

SITES: Final = 3
LENGTH: Final = 60
BASES: Final = "ACGT"
MOTIFS: Final = ("TGACTCAT", "CACGTGAC", "GGGCGGGG", "CTAATTAG")
FACTORS: Final = 8  # two for each motif
SILENT: Final = ((0,), (1,), (2,), (3,), (0, 2), (1, 3))
"""Of each cell, the motifs that it silences."""
RECORDS: Final = 200  # of a pair for training
TEST_RECORDS: Final = 150


def read_windows(source: Path) -> list[str]:
    """Read the middle of all windows whose letters are known."""
    records = gzip.decompress((source / "intervals.10k.fasta.gz").read_bytes()).decode().split(">")[1:]
    whole = [record.partition("\n")[2].replace("\n", "").upper() for record in records]
    middles = [each[(len(each) - LENGTH) // 2 :][:LENGTH] for each in whole]
    return [each for each in middles if set(each) <= set(BASES)]


def is_for_tests(factor: int, cell: int) -> bool:
    """Return whether a pair is for tests: one factor of every third pair of motif and cell, 8 pairs in all."""
    motif = factor // 2
    return (motif + cell) % 3 == 1 and factor % 2 == cell // 2 % 2


def make_record(letters: str, factor: int, cell: int, random: np.random.Generator) -> tuple[NDArray[np.uint8], int]:
    """Plant motifs in a window; return its one-hot letters, and 1 if the factor binds."""
    own, other = factor // 2, (factor // 2 + int(random.integers(1, len(MOTIFS)))) % len(MOTIFS)
    encoded: NDArray[np.uint8] = (np.array(list(letters)) == np.array(list(BASES))[:, None]).astype(np.uint8)
    planted = [bool(random.random() < 0.5) for _ in range(2)]
    halves = random.permutation(2)  # so that one motif does not overwrite the other
    for motif, there, half in zip((own, other), planted, halves.tolist(), strict=True):
        if there:
            word = (np.array(list(MOTIFS[motif])) == np.array(list(BASES))[:, None]).astype(np.uint8)
            if random.random() < 0.5:
                word = word[::-1, ::-1]
            start = half * LENGTH // 2 + int(random.integers(0, LENGTH // 2 - word.shape[1]))
            encoded[:, start : start + word.shape[1]] = word
    return encoded, int(planted[0] and own not in SILENT[cell])


def prepare(source: Path, target: Path) -> None:
    """Read the windows in ``source`` and write the files of all sites under ``target``."""
    windows, random = iter(read_windows(source)), np.random.default_rng(0)
    pairs = [(factor, cell) for factor in range(FACTORS) for cell in range(len(SILENT))]
    for name, part, records in (("train", False, RECORDS), ("test", True, TEST_RECORDS)):
        own = [pair for pair in pairs if is_for_tests(*pair) == part]
        for site in range(SITES):
            folder = target / f"site-{site + 1}"
            folder.mkdir(parents=True, exist_ok=True)
            rows = [(*pair, *make_record(next(windows), *pair, random)) for pair in own[site::SITES] * records]
            factors, cells, sequences, bound = zip(*rows, strict=True)
            np.savez(
                folder / f"{name}.npz",
                sequence=np.stack(sequences),
                factor=np.array(factors),
                cell=np.array(cells),
                bound=np.array(bound),
                patient=np.array([f"{name}-{site}-{number:04d}" for number in range(len(rows))]),
            )
            sys.stdout.write(f"{folder / name}.npz: {len(rows)} records of {len(own[site::SITES])} pairs\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Plant motifs in public windows of the human genome.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with intervals.10k.fasta.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
