"""Keep compounds that were tried on the kinase SRC at three companies, as similarities, for ``similarities.yaml``.

    python examples/drugs/prepare_kiba_similarities.py FOLDER OUT

FOLDER has the KIBA scores as for ``prepare_kiba.py``, and ``davis_ligands.json`` as for ``prepare_davis.py``: the
SMILES of 68 published kinase inhibitors, which are the columns of the study. Each company computes how similar its own
compounds are to them, and keeps its files in a form of its own:

========  ==============================================================================================
company   its files
========  ==============================================================================================
ash       a table of similarities, columns in another order than the study's; results as CSV
birch     arrays of similarities in one ``.npz`` file; results as CSV with other words
cedar     a table of similarities with semicolons and decimal commas; results in a SQLite database
========  ==============================================================================================

The mappings are in ``examples/drugs/similarities/``.

Rules:

* a similarity is Tanimoto's: of two sets of substructures (Morgan fingerprints of radius 2 and 2,048 bits, by RDKit)
  the share that both have (Rogers and Hahn 2010, Extended-connectivity fingerprints);
* a compound binds strongly at a KIBA score of 12.1 or more, as in the papers that use these scores;
* compounds are dealt to the companies in turn, in the order of the file. Every fourth one of a company is for tests;
* neither the scores of other kinases nor the compounds' letters are given to anybody.

It needs the extra: ``pip install 'consilium[chemistry]'``.
"""

import argparse
import json
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prepare_davis_companies import write_table
from prepare_kiba import read_texts
from rdkit import Chem, DataStructs, RDLogger
from rdkit.Chem import rdFingerprintGenerator

COMPANIES: Final = ("ash", "birch", "cedar")
TEST_EVERY: Final = 4  # one test compound in so many
KINASE: Final = "P12931"  # SRC, in UniProt
STRONG: Final = 12.1
RADIUS: Final = 2
BITS: Final = 2048


class Compounds(NamedTuple):
    """What a company has of its compounds: names, whether each binds strongly, and (compounds, known) similarities."""

    names: list[str]
    strong: list[bool]
    known: list[str]
    similarities: NDArray[np.float64]


def compute_similarities(own: Sequence[str], known: Sequence[str]) -> NDArray[np.float64]:
    """Compute Tanimoto's similarity of each compound to each known one, from SMILES; (own, known)."""
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]  # it warns of every unusual valence
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)

    def compute(smiles: str) -> Any:
        return generator.GetFingerprint(Chem.MolFromSmiles(smiles))

    columns = [compute(each) for each in known]
    return np.array([DataStructs.BulkTanimotoSimilarity(compute(each), columns) for each in own])


def write_tables(folder: Path, own: Compounds) -> None:
    """Write a table of similarities in the order of the inhibitors' names, and one of results."""
    order = np.argsort(own.known)
    rows = [(name, *map(repr, row[order].tolist())) for name, row in zip(own.names, own.similarities, strict=True)]
    write_table(folder / "similarities.tsv", ("compound", *(own.known[place] for place in order)), rows, "\t")
    write_results(folder / "results.csv", own, ("yes", "no"))


def write_arrays(folder: Path, own: Compounds) -> None:
    """Write arrays of similarities, and a table of results with other words."""
    values = own.similarities.astype(np.float32)
    np.savez(folder / "similarities.npz", values=values, compounds=np.array(own.names), known=np.array(own.known))
    write_results(folder / "results.csv", own, ("active", "inactive"))
    write_table(folder / "words.csv", ("src", "strong"), [("active", "yes"), ("inactive", "no")])


def write_database(folder: Path, own: Compounds) -> None:
    """Write a table of similarities with decimal commas, and a database of results."""
    rows = [
        (name, *(repr(each).replace(".", ",") for each in row.tolist()))
        for name, row in zip(own.names, own.similarities, strict=True)
    ]
    write_table(folder / "similarities.csv", ("compound", *own.known), rows, ";")
    path = folder / "results.sqlite"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE result (number INTEGER PRIMARY KEY, compound TEXT, strong TEXT)")
        words = [(name, "yes" if strong else "no") for name, strong in zip(own.names, own.strong, strict=True)]
        database.executemany("INSERT INTO result (compound, strong) VALUES (?, ?)", words)
    database.close()


def write_results(path: Path, own: Compounds, words: tuple[str, str]) -> None:
    """Write a table of compounds and whether each binds strongly."""
    rows = [(name, words[0] if strong else words[1]) for name, strong in zip(own.names, own.strong, strict=True)]
    write_table(path, ("compound", "src"), rows)


WRITERS: Final = {"ash": write_tables, "birch": write_arrays, "cedar": write_database}


def prepare(source: Path, target: Path) -> None:
    """Read the scores in ``source`` and write the files of all companies under ``target``."""
    ligands, proteins = read_texts(source / "kiba_ligands.json.gz"), read_texts(source / "kiba_proteins.json.gz")
    known: dict[str, str] = json.loads((source / "davis_ligands.json").read_text())
    with np.load(source / "kiba.npz") as arrays:
        tried = arrays["target"] == list(proteins).index(KINASE)
        drugs, scores = arrays["drug"][tried], arrays["score"][tried]
    order = np.argsort(drugs, kind="stable")
    drugs, strong = drugs[order], scores[order] >= STRONG
    names, letters = list(ligands), list(ligands.values())
    for number, company in enumerate(COMPANIES):
        folder = target / company
        folder.mkdir(parents=True, exist_ok=True)
        here = list(range(number, len(drugs), len(COMPANIES)))
        own = Compounds(
            [names[drugs[place]] for place in here],
            [bool(strong[place]) for place in here],
            list(known),
            compute_similarities([letters[drugs[place]] for place in here], list(known.values())),
        )
        WRITERS[company](folder, own)
        (folder / "held-out.txt").write_text("\n".join(own.names[::TEST_EVERY]) + "\n")
        shutil.copy(Path(__file__).parent / "similarities" / f"{company}.yaml", folder / "mapping.yaml")
        sys.stdout.write(f"{folder}: {len(own.names)} compounds, {sum(own.strong)} bind strongly\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Keep compounds at three companies, as similarities.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with kiba.npz and the others")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the companies' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
