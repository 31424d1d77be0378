"""Turn the public use of mouse exons in two conditions into arrays for ``jha_splicing.yaml``.

    python examples/genomics/prepare_u2af1.py FILE OUT

FILE is ``rmats_u2af1_mouse.tsv.gz``: what rMATS counted of skipped exons in cells with a mutated and with the usual
splicing factor U2AF1, three samples each. OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

============  ==================  ======================================================================
array         shape               content
============  ==================  ======================================================================
``features``  (records, 34)       of the exon, and how much it is used in the group it is compared with: see below
``context``   (records, 2)        which group that is, one-hot; the file does not say which is mutated
``change``    (records, 2)        whether the exon is used more in the other group, and less: by 0.1 or more
``patient``   (records,)          the gene
============  ==================  ======================================================================

**These are cells of mice: no person is protected.** A "patient" is a gene, and its exons, each compared in both
directions, are its records. In a hospital the patient is the person whose RNA was measured.

Rules:

* features are the lengths of the exon, of the exons before and after it, and of the introns between them, each by how
  much of its logarithm lies in each of five fixed steps; the exon's length modulo three; whether it is on the X
  chromosome; and the share of transcripts that have the exon, the mean of three samples, in five steps;
* exons with fewer than 20 reads in one of the groups are left out;
* genes are dealt in turn, in the order of their names; every fifth one of a site is for tests. Records of a gene stand
  in an order that a fixed seed draws.
"""

import argparse
import csv
import gzip
import sys
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SITES: Final = 3
TEST_EVERY: Final = 5  # one test gene in so many
LEAST_READS: Final = 20
CHANGE: Final = 0.1
EXON: Final = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
"""Edges of the steps of the logarithm of an exon's length."""
INTRON: Final = (4.0, 5.5, 7.0, 8.5, 10.0, 12.0)
SHARE: Final = (0.0, 0.1, 0.3, 0.7, 0.9, 1.0)


class Record(NamedTuple):
    """An exon, compared with its use in a group of samples."""

    gene: str
    features: NDArray[np.float32]
    group: int
    change: tuple[bool, bool]


def read_records(source: Path) -> list[Record]:
    """Read both directions of every exon with enough reads in both groups."""
    found = list[Record]()
    for row in csv.DictReader(gzip.decompress(source.read_bytes()).decode().splitlines(), delimiter="\t"):
        levels = [_read_numbers(row[f"IncLevel{group}"]) for group in (1, 2)]
        reads = [_read_numbers(row[f"IJC_SAMPLE_{group}"] + "," + row[f"SJC_SAMPLE_{group}"]) for group in (1, 2)]
        if not all(levels) or min(map(sum, reads)) < LEAST_READS:
            continue
        exon, shares = describe_exon(row), [float(np.mean(each)) for each in levels]
        for group in (0, 1):
            features = np.concatenate([exon, _place(shares[group], SHARE)]).astype(np.float32)
            rise = shares[1 - group] - shares[group]
            found.append(Record(row["GeneID"], features, group, (rise >= CHANGE, rise <= -CHANGE)))
    return found


def describe_exon(row: dict[str, str]) -> NDArray[np.float64]:
    """Describe an exon by lengths, frame and chromosome; (29,), each in [0, 1]."""
    start, end = int(row["exonStart_0base"]), int(row["exonEnd"])
    before = int(row["upstreamEE"]) - int(row["upstreamES"]), start - int(row["upstreamEE"])
    after = int(row["downstreamEE"]) - int(row["downstreamES"]), int(row["downstreamES"]) - end
    if row["strand"] == "-":
        before, after = after, before
    parts = [
        _place(float(np.log(max(1, length))), edges)
        for length, edges in (
            (end - start, EXON), (before[0], EXON), (after[0], EXON), (before[1], INTRON), (after[1], INTRON),
        )
    ]  # fmt: skip
    frame = np.arange(3) == (end - start) % 3
    return np.concatenate([*parts, frame, [row["chr"] == "chrX"]]).astype(np.float64)


def _place(value: float, edges: tuple[float, ...]) -> NDArray[np.float64]:
    """Return how much of each step between ``edges`` is below ``value``; (steps,)."""
    low, high = np.array(edges[:-1]), np.array(edges[1:])
    filled: NDArray[np.float64] = np.clip((value - low) / (high - low), 0, 1)
    return filled


def _read_numbers(text: str) -> list[float]:
    return [float(word) for word in text.split(",") if word != "NA"]


def prepare(source: Path, target: Path) -> None:
    """Read the exons in ``source`` and write the files of all sites under ``target``."""
    records = read_records(source)
    np.random.default_rng(0).shuffle(records)
    places = {gene: place for place, gene in enumerate(sorted({each.gene for each in records}))}
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        own = [each for each in records if places[each.gene] % SITES == site]
        tested = [places[each.gene] // SITES % TEST_EVERY == 0 for each in own]
        for name, part in (("train", False), ("test", True)):
            chosen = [each for each, held in zip(own, tested, strict=True) if held == part]
            np.savez(
                folder / f"{name}.npz",
                features=np.stack([each.features for each in chosen]),
                context=np.eye(2, dtype=np.float32)[[each.group for each in chosen]],
                change=np.array([each.change for each in chosen]),
                patient=np.array([each.gene for each in chosen]),
            )
            genes = len({each.gene for each in chosen})
            sys.stdout.write(f"{folder / name}.npz: {genes} genes, {len(chosen)} records\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn the public use of mouse exons into arrays.")
    parser.add_argument("source", type=Path, metavar="FILE", help="rmats_u2af1_mouse.tsv.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
