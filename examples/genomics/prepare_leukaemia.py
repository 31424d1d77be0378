"""Deal public arrays of leukaemia to three sites, each with files of another form, for ``leukaemia.yaml``.

    python examples/genomics/prepare_leukaemia.py FOLDER OUT
    python examples/genomics/prepare_leukaemia.py FOLDER OUT --pcl    for leukaemia_signatures.yaml

FOLDER has ``leukemia_u95.gct.gz``, 9,020 genes in 48 patients, and ``leukemia.cls``, the leukaemia of each
(https://github.com/zqfang/GSEApy). OUT gets a folder for each site, with the mapping that leads from its files to the
study:

========  ======================================================================================
site      its files
========  ======================================================================================
north     a GCT file and a CLS file
south     a table with a column for each gene and decimal commas, and a table of patients
east      an h5ad file (needs the extra ``genomics``)
========  ======================================================================================

With ``--pcl`` every site has a PCL file instead, and no classes: signatures are found without them.

The mappings are in ``examples/genomics/hospitals/``. Patients are dealt in turn, in the order of the file.
"""

import argparse
import gzip
import shutil
import sys
from pathlib import Path
from typing import Final, NamedTuple

SITES: Final = ("north", "south", "east")


class Arrays(NamedTuple):
    """The arrays of a site: genes, patients, the words of each value (genes, patients), and each leukaemia."""

    genes: list[str]
    patients: list[str]
    values: list[list[str]]
    leukaemia: list[str]


def read_arrays(source: Path) -> Arrays:
    """Read all arrays."""
    lines = gzip.decompress((source / "leukemia_u95.gct.gz").read_bytes()).decode().splitlines()
    rows = [line.split("\t") for line in lines[3:]]
    classes = (source / "leukemia.cls").read_text().splitlines()[2].split()
    return Arrays([row[0] for row in rows], lines[2].split("\t")[2:], [row[2:] for row in rows], classes)


def choose(arrays: Arrays, first: int) -> Arrays:
    """Return the arrays of every third patient."""
    every = slice(first, None, len(SITES))
    values = [row[every] for row in arrays.values]
    return Arrays(arrays.genes, arrays.patients[every], values, arrays.leukaemia[every])


def write_gct(folder: Path, own: Arrays) -> None:
    """Write a GCT file and its CLS file."""
    head = f"#1.2\n{len(own.genes)}\t{len(own.patients)}\nNAME\tDescription\t" + "\t".join(own.patients) + "\n"
    rows = [f"{gene}\t\t" + "\t".join(values) + "\n" for gene, values in zip(own.genes, own.values, strict=True)]
    (folder / "arrays.gct").write_text(head + "".join(rows))
    (folder / "arrays.cls").write_text(f"{len(own.patients)} 2 1\n# ALL AML\n{' '.join(own.leukaemia)}\n")


def write_tables(folder: Path, own: Arrays) -> None:
    """Write a table of arrays with decimal commas, and one of patients."""
    columns = zip(*own.values, strict=True)
    rows = [f"A{n:03};" + ";".join(each.replace(".", ",") for each in column) for n, column in enumerate(columns)]
    (folder / "arrays.csv").write_text("\n".join(["array;" + ";".join(own.genes), *rows]) + "\n")
    people = zip(own.patients, own.leukaemia, strict=True)
    listed = [f"{name};{word};A{n:03}" for n, (name, word) in enumerate(people)]
    (folder / "patients.csv").write_text("\n".join(["patient;diagnosis;array", *listed]) + "\n")


def write_h5ad(folder: Path, own: Arrays) -> None:
    """Write an h5ad file."""
    import h5py
    import numpy as np

    with h5py.File(folder / "arrays.h5ad", "w") as file:
        file["X"] = np.array(own.values, dtype=np.float64).T
        for group, names in (("obs", [f"array-{n}" for n in range(len(own.patients))]), ("var", own.genes)):
            file.create_group(group).attrs["_index"] = "_index"
            file[f"{group}/_index"] = names
        file["obs/patient"], file["obs/diagnosis"] = own.patients, own.leukaemia


def write_pcl(folder: Path, own: Arrays) -> None:
    """Write a PCL file, packed, with the columns and the row of weights of this format."""
    head = "UID\tNAME\tGWEIGHT\t" + "\t".join(own.patients) + "\nEWEIGHT\t\t" + "\t1" * len(own.patients) + "\n"
    rows = [
        f"{gene}\t{gene}\t1\t" + "\t".join(values) + "\n"
        for gene, values in zip(own.genes, own.values, strict=True)
    ]
    (folder / "arrays.pcl.gz").write_bytes(gzip.compress((head + "".join(rows)).encode(), mtime=0))


WRITERS: Final = {"north": write_gct, "south": write_tables, "east": write_h5ad}


def prepare(source: Path, target: Path, *, pcl: bool = False) -> None:
    """Read the arrays in ``source`` and write the files of all sites under ``target``, as PCL files if asked for."""
    arrays = read_arrays(source)
    for number, site in enumerate(SITES):
        folder, own = target / site, choose(arrays, number)
        folder.mkdir(parents=True, exist_ok=True)
        (write_pcl if pcl else WRITERS[site])(folder, own)
        mapping = f"leukaemia-{'pcl' if pcl else site}.yaml"
        shutil.copy(Path(__file__).parent / "hospitals" / mapping, folder / "mapping.yaml")
        sys.stdout.write(f"{folder}: {len(own.patients)} patients, {own.leukaemia.count('AML')} with AML\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Deal public arrays of leukaemia to three sites.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with leukemia_u95.gct.gz and leukemia.cls")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    parser.add_argument("--pcl", action="store_true", help="write PCL files, for leukaemia_signatures.yaml")
    asked = parser.parse_args()
    prepare(asked.source, asked.target, pcl=asked.pcl)
