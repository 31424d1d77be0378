"""Keep the Davis measurements at three companies, each with files of another form, for ``deepdta_pairs.yaml``.

    python examples/drugs/prepare_davis_companies.py FOLDER OUT

FOLDER has the measurements as for ``prepare_davis.py``, whose dealing of compounds, order of proteins and choice of
test compounds are repeated here. OUT gets a folder for each company, with the mapping that leads from its files to the
study:

========  =====================================================================================
company   its files
========  =====================================================================================
ash       tables of measurements (nM) and compounds, proteins as FASTA
birch     one table with the letters of both items, and pKd
cedar     a SQLite database with constants in mol/l
========  =====================================================================================

The mappings are in ``examples/drugs/companies/``.
"""

import argparse
import csv
import gzip
import io
import json
import math
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

COMPANIES: Final = ("ash", "birch", "cedar")
TEST_EVERY: Final = 5  # one test compound in so many


class Measurements(NamedTuple):
    """What a company has: the letters of compounds and proteins by name, and triples compound, protein, nM."""

    compounds: dict[str, str]
    proteins: dict[str, str]
    triples: list[tuple[str, str, str]]


def read_companies(source: Path) -> Iterator[tuple[str, Measurements, list[str]]]:
    """Yield each company, its measurements, and its test compounds."""
    compounds = json.loads((source / "davis_ligands.json").read_text())
    proteins = json.loads((source / "davis_proteins.json").read_text())
    constants = [line.split() for line in (source / "davis_kd_nM.txt").read_text().splitlines()]
    order, targets = np.random.default_rng(0).permutation(len(proteins)), list(proteins)
    for number, company in enumerate(COMPANIES):
        own = [name for place, name in enumerate(compounds) if place % len(COMPANIES) == number]
        rows = constants[number :: len(COMPANIES)]
        triples = [
            (name, targets[place], row[place]) for name, row in zip(own, rows, strict=True) for place in order
        ]
        yield company, Measurements({name: compounds[name] for name in own}, proteins, triples), own[::TEST_EVERY]


def write_table(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]], delimiter: str = ",") -> None:
    """Write a table; one whose name ends with ``.gz`` is compressed."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    content = out.getvalue().encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_files(folder: Path, own: Measurements) -> None:
    """Write tables of measurements and compounds, and proteins as FASTA."""
    write_table(folder / "measurements.csv", ("drug", "target", "kd"), own.triples)
    write_table(folder / "compounds.csv", ("id", "smiles"), list(own.compounds.items()))
    (folder / "kinases.fa").write_text("".join(f">{name}\n{text}\n" for name, text in own.proteins.items()))


def write_one_table(folder: Path, own: Measurements) -> None:
    """Write one table with all letters, and pKd."""
    rows = [
        (compound, own.compounds[compound], own.proteins[protein], repr(9 - math.log10(float(constant))))
        for compound, protein, constant in own.triples
    ]
    write_table(folder / "pairs.tsv.gz", ("compound", "smiles", "sequence", "pkd"), rows, "\t")


def write_database(folder: Path, own: Measurements) -> None:
    """Write three tables of a database, with constants in mol/l."""
    path = folder / "assays.sqlite"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE compound (id TEXT PRIMARY KEY, smiles TEXT)")
        database.execute("CREATE TABLE kinase (id TEXT PRIMARY KEY, sequence TEXT)")
        database.execute("CREATE TABLE assay (number INTEGER PRIMARY KEY, compound TEXT, kinase TEXT, molar REAL)")
        database.executemany("INSERT INTO compound VALUES (?, ?)", own.compounds.items())
        database.executemany("INSERT INTO kinase VALUES (?, ?)", own.proteins.items())
        database.executemany(
            "INSERT INTO assay (compound, kinase, molar) VALUES (?, ?, ?)",
            [(compound, protein, float(constant) * 1e-9) for compound, protein, constant in own.triples],
        )
    database.close()


WRITERS: Final = {"ash": write_files, "birch": write_one_table, "cedar": write_database}


def prepare(source: Path, target: Path) -> None:
    """Read the measurements in ``source`` and write the files of all companies under ``target``."""
    for company, own, tested in read_companies(source):
        folder = target / company
        folder.mkdir(parents=True, exist_ok=True)
        WRITERS[company](folder, own)
        (folder / "held-out.txt").write_text("\n".join(tested) + "\n")
        shutil.copy(Path(__file__).parent / "companies" / f"{company}.yaml", folder / "mapping.yaml")
        sys.stdout.write(f"{folder}: {len(own.compounds)} compounds, {len(own.triples)} pairs\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Keep the Davis measurements at three companies.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with davis_ligands.json and the others")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the companies' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
