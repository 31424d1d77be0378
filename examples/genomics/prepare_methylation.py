"""Turn public methylation of two single cells into arrays for ``deepcpg.yaml``.

    python examples/genomics/prepare_methylation.py FOLDER OUT

FOLDER has ``BS27_4_SER.bed.gz`` and ``BS28_2_SER.bed.gz`` of https://github.com/PMBio/deepcpg (chromosome, place,
state): 10,000 CpG sites of each of two mouse cells, on chromosomes 18 and 19. OUT gets ``site-1`` to ``site-4``, each
with ``train.npz`` and ``test.npz``; a record is a CpG site that was seen in a cell:

=============  ==================  ===========================================================================
array          shape               content
=============  ==================  ===========================================================================
``states``     (records, 2, 20)    ten neighbours before and ten after, in the record's cell and in the other
                                   one: 1 methylated, 0 not, 0.5 not seen. The site itself is no neighbour
``distances``  (records, 2, 20)    to them, as parts of the stretch's length; 1 if not seen
``sequence``   (records, 4, 1)     zeros: the genome's letters are not in FOLDER, and the form ``cpg`` reads none
``label``      (records,)          1 if the site is methylated in the record's cell
``patient``    (records,)          the stretch: see below
=============  ==================  ===========================================================================

**What is protected.** A "patient" is a stretch of 10,000 bases of both cells. Neighbours are of the same stretch, so
that its states are in no other record; the study hides whether a stretch was used, and protects no donor: there are two
cells only. With cells of many donors, ``patient`` names the donor.

Rules:

* stretches are dealt to the sites in turn, in the order of the genome; every fourth one of a site is for tests;
* the order of a stretch's records is drawn by a fixed seed, so that the first of them, which
  ``data.records_per_patient`` keeps, are a sample.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SITES: Final = 4
TEST_EVERY: Final = 4
STRETCH: Final = 10_000
CELLS: Final = ("BS27_4_SER", "BS28_2_SER")
EACH_SIDE: Final = 10

Floats = NDArray[np.float32]


def read_cell(path: Path) -> pd.DataFrame:
    """Read the sites of a cell, in the order of the genome, with the stretch of each."""
    table = pd.read_csv(path, sep="\t", header=None, names=["chromosome", "place", "state"])
    table = table.sort_values(["chromosome", "place"], ignore_index=True)
    table["stretch"] = [f"{row.chromosome}-{row.place // STRETCH:05d}" for row in table.itertuples()]
    return table


def find_neighbours(place: int, places: NDArray[np.int64], states: Floats) -> tuple[Floats, Floats]:
    """Find the states of the neighbours of ``place`` among sorted ``places``, and how far away they are."""
    state = np.full(2 * EACH_SIDE, 0.5, np.float32)
    distance = np.ones(2 * EACH_SIDE, np.float32)
    before, after = int(np.searchsorted(places, place)), int(np.searchsorted(places, place, side="right"))
    first = max(0, before - EACH_SIDE)
    near = [*range(before - 1, first - 1, -1)], [*range(after, min(len(places), after + EACH_SIDE))]
    for side, numbers in enumerate(near):
        here = slice(side * EACH_SIDE, side * EACH_SIDE + len(numbers))
        state[here] = states[numbers]
        distance[here] = np.abs(places[numbers] - place) / STRETCH
    return state, distance


def make_records(cells: list[pd.DataFrame]) -> dict[str, NDArray[np.generic]]:
    """Make the records of all cells, drawn in a fixed order."""
    known = [
        {
            name: (own["place"].to_numpy(), own["state"].to_numpy(np.float32))
            for name, own in cell.groupby("stretch")
        }
        for cell in cells
    ]
    nothing = np.empty(0, np.int64), np.empty(0, np.float32)
    rows = []
    for number, cell in enumerate(cells):
        for row in cell.itertuples():
            order = [known[number], *(other for place, other in enumerate(known) if place != number)]
            found = [find_neighbours(row.place, *each.get(row.stretch, nothing)) for each in order]
            states, distances = (np.stack(part) for part in zip(*found, strict=True))
            rows.append((states, distances, int(row.state), row.stretch))
    drawn = np.random.default_rng(0).permutation(len(rows))
    states, distances, label, patient = (np.array(part)[drawn] for part in zip(*rows, strict=True))
    return {
        "sequence": np.zeros((len(rows), 4, 1), np.uint8),
        "states": states,
        "distances": distances,
        "label": label,
        "patient": patient,
    }


def prepare(source: Path, target: Path) -> None:
    """Read the cells in ``source`` and write the files of all sites under ``target``."""
    records = make_records([read_cell(source / f"{name}.bed.gz") for name in CELLS])
    order = np.unique(records["patient"], return_inverse=True)[1]
    held_out, site_of = order // SITES % TEST_EVERY == 0, order % SITES
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for part, chosen in (("train", ~held_out), ("test", held_out)):
            own = {name: values[chosen & (site_of == site)] for name, values in records.items()}
            np.savez(folder / f"{part}.npz", **own)
            stretches = len(np.unique(own["patient"]))
            sys.stdout.write(f"{folder / part}.npz: {len(own['label'])} CpG sites in {stretches} stretches\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn public methylation of single cells into arrays.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with BS27_4_SER.bed.gz and BS28_2_SER.bed.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
