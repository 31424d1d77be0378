"""Deal public breast tumours to four sites for ``gedfn.yaml``, and write the study on all their genes.

    python examples/genomics/prepare_gedfn.py brca_er.npz OUT

``brca_er.npz`` has the expression of 250 genes in 520 tumours, their oestrogen receptor, and the interactions of these
genes' proteins (the data set breastcancer2012 of https://github.com/cran/netgsa; interactions from
https://github.com/emreg00/proximity). OUT gets a folder for each site, with the mapping that leads from its files to
the study, and:

* ``interactions.tsv``, the graph, with genes by their NCBI number;
* ``gedfn.yaml``, the study beside this script with all 250 genes and this graph.

======================  ============================================================================
site                    its files
======================  ============================================================================
north, south            a table with a row for each gene, and a table of patients
east, west              a table with a column for each gene and for the receptor, decimal commas
======================  ============================================================================

    consilium demo --model gedfn --data OUT
    consilium demo --study OUT/gedfn.yaml --data OUT

Tumours are dealt in turn, in the order of the file. A tumour is a patient.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

SITES: Final = ("north", "south", "east", "west")
_HERE: Final = Path(__file__).parent
_POSITIVE: Final = 1  # of ``group``; 2 is a tumour without the receptor


def write_rows(folder: Path, genes: list[str], values: Any, receptor: list[str]) -> None:
    """Write the genes as rows, and a table of patients."""
    people = [f"P{number:03}" for number in range(len(values))]
    rows = [f"{gene}\t" + "\t".join(f"{value}" for value in values[:, n]) for n, gene in enumerate(genes)]
    (folder / "expression.tsv").write_text("\n".join(["gene\t" + "\t".join(people), *rows]) + "\n")
    listed = [f"{name},{word}" for name, word in zip(people, receptor, strict=True)]
    (folder / "patients.csv").write_text("\n".join(["patient,receptor", *listed]) + "\n")


def write_columns(folder: Path, genes: list[str], values: Any, receptor: list[str]) -> None:
    """Write the genes as columns, with decimal commas."""
    rows = [
        f"{number};{word};" + ";".join(f"{value}".replace(".", ",") for value in row)
        for number, (word, row) in enumerate(zip(receptor, values, strict=True), start=1)
    ]
    (folder / "tumours.csv").write_text("\n".join(["case;ER;" + ";".join(genes), *rows]) + "\n")


WRITERS: Final = {"north": write_rows, "south": write_rows, "east": write_columns, "west": write_columns}


def write_study(path: Path, genes: list[str], graph: Any) -> None:
    """Write the study with all ``genes`` and the interactions in ``graph``."""
    study = yaml.safe_load((_HERE / "gedfn.yaml").read_text())
    study["name"] += "-250"
    study["data"]["genes"] = genes
    study["model"]["options"]["graph"] = graph
    study["training"]["learning_rate"] = 0.5  # at 1, as for 52 genes, it sometimes diverges without privacy
    path.write_text(yaml.safe_dump(study, sort_keys=False, default_flow_style=None, width=110))


def prepare(source: Path, target: Path) -> None:
    """Read the tumours in ``source`` and write the files of all sites, the graph and the study under ``target``."""
    from server.study.graph_file import read_graph_file

    target.mkdir(parents=True, exist_ok=True)
    with np.load(source) as arrays:
        values, group = arrays["expression"], arrays["group"]
        genes, edges = [str(each) for each in arrays["entrez"].tolist()], arrays["ppi_edge"].tolist()
    receptor = ["positive" if each == _POSITIVE else "negative" for each in group.tolist()]
    lines = [f"{genes[one]}\t{genes[other]}\n" for one, other in edges]
    (target / "interactions.tsv").write_text("".join(lines))
    graph = read_graph_file(target / "interactions.tsv", genes).make_graph(
        "Protein interactions of emreg00/proximity"
    )
    write_study(target / "gedfn.yaml", genes, graph.model_dump(mode="json"))
    for number, site in enumerate(SITES):
        folder, own = target / site, slice(number, None, len(SITES))
        folder.mkdir(parents=True, exist_ok=True)
        WRITERS[site](folder, genes, values[own], receptor[own])
        form = WRITERS[site].__name__.removeprefix("write_")
        shutil.copy(_HERE / "hospitals" / f"tumours-{form}.yaml", folder / "mapping.yaml")
        sys.stdout.write(f"{folder}: {len(receptor[own])} tumours, {receptor[own].count('positive')} positive\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Deal public breast tumours to four sites.")
    parser.add_argument("source", type=Path, metavar="brca_er.npz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
