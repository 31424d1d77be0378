"""Deal public drugs and the proteins that they bind to three companies: ``deepdtnet.yaml``, ``cascade_fusion.yaml``.

    python examples/drugs/prepare_deepdtnet.py FOLDER OUT

FOLDER has ``deepdtnet.npz``, 4,978 links between 732 drugs and 1,915 proteins and the networks beside them, and
``deepdtnet_features.npz``, what the authors' autoencoders made of 15 networks
(https://github.com/ChengF-Lab/deepDTnet). OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

=====================  ================  =================================================================
array                  shape             content
=====================  ================  =================================================================
``drug``               (pairs, 64)       the drug's features, on their first 64 principal components
``protein``            (pairs, 64)       the same of the protein
``drug_drugs``         (pairs, 732)      the drugs that the drug interacts with
``drug_diseases``      (pairs, 440)      the diseases that the drug is for
``protein_diseases``   (pairs, 440)      the diseases that the protein has to do with
``label``              (pairs,)          whether the drug is known to bind the protein
``patient``            (pairs,)          the drug
=====================  ================  =================================================================

Rules:

* a drug stands for a patient: what a company hides is its drugs. Drugs without a link are left out;
* beside each link of a drug stands one protein that it is not known to bind, drawn by how many drugs bind it. So that
  number alone tells nothing; among proteins that are drawn evenly it is most of what there is to know;
* pairs are in random order, and the first 24 of a drug are kept;
* drugs are dealt in turn. Every fifth one of a site is for tests.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from deal_sites import deal
from numpy.typing import NDArray

SITES: Final = 3
TEST_EVERY: Final = 5  # one test drug in so many
MOST_PAIRS: Final = 24  # of a drug
COMPONENTS: Final = 64


def read_network(arrays: Any, name: str) -> NDArray[np.uint8]:
    """Read a network as a matrix of 0 and 1."""
    network = np.zeros(arrays[f"shape_{name}"], dtype=np.uint8)
    network[tuple(arrays[name].T)] = 1
    return network


def project(features: NDArray[np.float16]) -> NDArray[np.float32]:
    """Project ``features`` (nodes, n) on their first components, each divided by its largest size."""
    values = features.astype(np.float64)
    left, sizes, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    kept = left[:, :COMPONENTS] * sizes[:COMPONENTS]
    scaled: NDArray[np.float32] = (kept / np.abs(kept).max()).astype(np.float32)
    return scaled


def draw_pairs(links: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.int64]:
    """Draw drugs, proteins and labels of pairs, those of one drug together; (3, pairs)."""
    weights = links.sum(axis=0)
    drawn = []
    for drug in np.flatnonzero(links.any(axis=1)):
        bound = np.flatnonzero(links[drug])
        chances = np.where(links[drug] > 0, 0.0, weights)
        unbound = random.choice(len(chances), size=len(bound), replace=False, p=chances / chances.sum())
        proteins, labels = np.concatenate([bound, unbound]), np.repeat([1, 0], len(bound))
        order = random.permutation(len(proteins))[:MOST_PAIRS]
        drawn.append(np.stack([np.full(len(order), drug), proteins[order], labels[order]]))
    return np.concatenate(drawn, axis=1)


def prepare(source: Path, target: Path) -> None:
    """Read the networks in ``source`` and write the files of all sites under ``target``."""
    with np.load(source / "deepdtnet.npz") as arrays:
        links = read_network(arrays, "drug_protein")
        drug_drugs, drug_diseases, protein_diseases = (
            read_network(arrays, name) for name in ("drug_drug", "drug_disease", "protein_disease")
        )
    with np.load(source / "deepdtnet_features.npz") as arrays:
        drug_features, protein_features = project(arrays["drug"]), project(arrays["protein"])
    drugs, proteins, labels = draw_pairs(links, np.random.default_rng(0))
    numbers = np.unique(drugs, return_inverse=True)[1]
    for path, chosen in deal(target, numbers, SITES, TEST_EVERY):
        drug, protein = drugs[chosen], proteins[chosen]
        np.savez_compressed(
            path,
            drug=drug_features[drug],
            protein=protein_features[protein],
            drug_drugs=drug_drugs[drug],
            drug_diseases=drug_diseases[drug],
            protein_diseases=protein_diseases[protein],
            label=labels[chosen],
            patient=np.array([f"drug-{each}" for each in drug]),
        )
        sys.stdout.write(f"{path}: {len(np.unique(drug))} drugs, {chosen.sum()} pairs\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Deal public drugs and their targets to three companies.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with deepdtnet.npz and deepdtnet_features.npz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
