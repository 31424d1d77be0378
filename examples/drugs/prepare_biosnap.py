"""Turn the public BIOSNAP pairs of drugs and proteins into arrays, for every study of them here.

    python examples/drugs/prepare_biosnap.py FOLDER OUT

FOLDER has the pairs as the authors of MolTrans gave them (https://github.com/kexinhuang12345/MolTrans):
``dti/biosnap_pairs.csv.gz``, ``dti/biosnap_smiles.json.gz`` (3,546 drugs) and ``dti/biosnap_sequences.json.gz`` (2,038
proteins); and 6,955 other public compounds (https://github.com/jgmeyerucsd/drug-class),
``drug_class/mesh12_6955.csv.gz``. OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

=================  ================  =======================================================================
array              shape             content
=================  ================  =======================================================================
``fingerprint``    (pairs, 1024)     1 for each substructure of the drug: a Morgan fingerprint of radius 2
``composition``    (pairs, 8420)     how often the protein has each amino acid, pair and triple of them
``compound``       (pairs, 50)       the drug among public compounds: coordinates of its substructures
``wide_compound``  (pairs, 200)      more of these coordinates
``protein``        (pairs, 200)      the protein among public proteins: coordinates of its triples
``label``          (pairs,)          1 for a known interaction
``patient``        (pairs,)          the drug
=================  ================  =======================================================================

**What is protected.** The sites are companies, and what a company hides is its drugs and what they bind. So a
"patient" is a drug, and its pairs with all proteins are its records, which are clipped together. No drug is at two
sites, and test drugs are never seen in training. That is not the split of the papers, where most drugs are in both.

Rules:

* frequencies are scaled by fixed factors (:data:`FACTORS`) to [0, 1]; what is beyond is set to 1;
* coordinates are those of latent semantic analysis: the table of public items and of what they have, weighted by how
  rare it is, is split into singular vectors; each coordinate has a variance of 1 over the public items, and is set to
  -3 or 3 if beyond. Sequences of human proteins are public; compounds are the 6,955, not the companies' drugs;
* the pairs of a drug are in an order that a fixed seed draws, and so are the drugs, which are dealt to the sites in
  turn. Every fifth one of a site is for tests.

It needs the extra: ``pip install 'consilium[chemistry]'``.

Source: Deerwester et al. 1990, Indexing by latent semantic analysis, Journal of the American Society for Information
Science 41(6):391-407.
"""

import argparse
import csv
import gzip
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from deal_sites import deal
from numpy.typing import NDArray
from prepare_kiba import read_texts
from rdkit import Chem, RDLogger
from rdkit.Chem import rdFingerprintGenerator
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

SITES: Final = 3
TEST_EVERY: Final = 5  # one test drug in so many
BITS: Final = 1024
AMINO_ACIDS: Final = "ACDEFGHIKLMNPQRSTVWY"
FACTORS: Final = (5, 50, 200)
"""Of the frequencies of amino acids, of pairs and of triples: nearly all are below 1/5, 1/50 and 1/200."""
COORDINATES: Final = 200
FEWER_COORDINATES: Final = 50
Numbers = NDArray[np.float32]


def read_table(path: Path) -> list[list[str]]:
    """Read the rows of a table without its header."""
    return list(csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))[1:]


def find_substructures(smiles: Iterable[str], bits: int) -> Numbers:
    """Compute the Morgan fingerprint of each compound; (compounds, bits), 0 or 1."""
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]  # it warns of every unusual valence
    generator: Any = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=bits)
    found = [generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(each)) for each in smiles]
    return np.array(found, dtype=np.float32)


def count_words(sequence: str, length: int) -> Numbers:
    """Count each word of ``length`` amino acids; (20**length,). A word with a rare letter is none."""
    letters = np.array([AMINO_ACIDS.find(letter) for letter in sequence])
    words = np.lib.stride_tricks.sliding_window_view(letters, length)  # (words, length)
    numbers = words[(words >= 0).all(1)] @ len(AMINO_ACIDS) ** np.arange(length - 1, -1, -1)
    counts: Numbers = np.bincount(numbers, minlength=len(AMINO_ACIDS) ** length).astype(np.float32)
    return counts


def compute_frequencies(sequences: Iterable[str], length: int) -> Numbers:
    """Compute how often each protein has each word, as parts of all its words; (proteins, 20**length)."""
    counts = np.array([count_words(sequence, length) for sequence in sequences])
    frequencies: Numbers = counts / counts.sum(1, keepdims=True)
    return frequencies


def compute_coordinates(public: Numbers, own: Numbers, coordinates: int) -> Numbers:
    """Compute the coordinates of ``own`` items among ``public`` ones; (items, features) -> (own items, coordinates).

    The largest singular vectors come first.
    """
    rarity = np.log(len(public) / (1 + (public > 0).sum(0)))

    def weigh(table: Numbers) -> Any:
        weighted = table * rarity
        length = np.linalg.norm(weighted, axis=1, keepdims=True)
        return csr_array(weighted / np.maximum(length, 1e-6))

    _, values, vectors = svds(weigh(public), k=coordinates, v0=np.ones(min(public.shape)))
    found = weigh(own) @ (vectors[::-1].T / values[::-1]) * np.sqrt(len(public))
    clipped: Numbers = np.clip(found, -3, 3).astype(np.float32)
    return clipped


def describe_drugs(smiles: Sequence[str], public: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Describe each drug: its ``fingerprint``, and its coordinates among ``public`` compounds."""
    coordinates = compute_coordinates(
        find_substructures(public, 2 * BITS), find_substructures(smiles, 2 * BITS), COORDINATES
    )
    return {
        "fingerprint": find_substructures(smiles, BITS).astype(np.uint8),
        "compound": np.ascontiguousarray(coordinates[:, :FEWER_COORDINATES]),
        "wide_compound": coordinates,
    }


def describe_proteins(sequences: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Describe each protein: its ``composition``, and its coordinates among all of them."""
    frequencies = [compute_frequencies(sequences, 1 + place) for place in range(len(FACTORS))]
    scaled = [np.minimum(table * factor, 1) for table, factor in zip(frequencies, FACTORS, strict=True)]
    coordinates = compute_coordinates(frequencies[-1], frequencies[-1], COORDINATES)
    return {"composition": np.concatenate(scaled, axis=1).astype(np.float16), "protein": coordinates}


def prepare(source: Path, target: Path) -> None:
    """Read the pairs in ``source`` and write the files of all sites under ``target``."""
    smiles = read_texts(source / "dti" / "biosnap_smiles.json.gz")
    sequences = read_texts(source / "dti" / "biosnap_sequences.json.gz")
    public = [row[1] for row in read_table(source / "drug_class" / "mesh12_6955.csv.gz")]
    random = np.random.default_rng(0)
    names = random.permutation(sorted(smiles))
    drugs, proteins = (
        describe_drugs([smiles[name] for name in names], public),
        describe_proteins(list(sequences.values())),
    )
    rows = random.permutation(np.array(read_table(source / "dti" / "biosnap_pairs.csv.gz")))
    places, targets = (
        {name: place for place, name in enumerate(names)},
        {name: at for at, name in enumerate(sequences)},
    )
    drug, protein = np.array([places[row[0]] for row in rows]), np.array([targets[row[1]] for row in rows])
    for path, chosen in deal(target, drug, SITES, TEST_EVERY):
        np.savez(
            path,
            label=rows[chosen, 2].astype(np.int64),
            patient=names[drug[chosen]],
            **{what: values[drug[chosen]] for what, values in drugs.items()},
            **{what: values[protein[chosen]] for what, values in proteins.items()},
        )
        found = len(np.unique(drug[chosen]))
        sys.stdout.write(f"{path}: {found} drugs, {chosen.sum()} pairs\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn the public BIOSNAP pairs of drugs and proteins into arrays.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with dti/biosnap_pairs.csv.gz and the others")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
