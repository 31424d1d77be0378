"""Make vectors of a public network of drugs, targets and diseases, and deal other links, for ``deepwalk_dti.yaml``.

    python examples/drugs/prepare_deepwalk_dti.py deepdtnet.npz OUT

``deepdtnet.npz`` has 4,978 links between drugs and proteins, and those of both to diseases
(https://github.com/ChengF-Lab/deepDTnet). OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

===========  ============  ==========================================================================
array        shape         content
===========  ============  ==========================================================================
``rules``    (pairs, 2)    the scores of both rules over the public links, over the largest one
``drug``     (pairs, 32)   the drug's vector, over the largest number of all
``target``   (pairs, 32)   the protein's
``label``    (pairs,)      whether the drug binds the protein
``patient``  (pairs,)      the drug
===========  ============  ==========================================================================

Rules:

* half of each drug's links, at least one, is public: of them and of the links to diseases the network is made. The rest
  is what companies know;
* a drug stands for a patient. Drugs of one link are in the network alone;
* beside each link stands one protein that the drug is not known to bind, drawn by how many drugs publicly bind it, plus
  one. The first 24 pairs of a drug, in random order, are kept;
* drugs are dealt in turn. Every fifth one of a site is for tests.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from deal_sites import deal
from numpy.typing import NDArray

from models.drugs.deepwalk_dti import compute_cosines, score_by_drugs, score_by_targets
from models.layers.network_embedding import embed_walks

SITES: Final = 3
TEST_EVERY: Final = 5  # one test drug in so many
MOST_PAIRS: Final = 24  # of a drug
WIDTH: Final = 32


def read_network(arrays: Any, name: str) -> NDArray[np.float64]:
    """Read a network as a matrix of 0 and 1."""
    network = np.zeros(arrays[f"shape_{name}"])
    network[tuple(arrays[name].T)] = 1
    return network


def choose_public(links: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Choose half of each drug's links, rounded up."""
    public = np.zeros_like(links)
    for drug, row in enumerate(links):
        bound = random.permutation(np.flatnonzero(row))
        public[drug, bound[: (len(bound) + 1) // 2]] = 1
    return public


def draw_pairs(
    links: NDArray[np.float64], public: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw drugs, targets and labels of pairs that are not public, those of one drug together; (3, pairs)."""
    weights = public.sum(axis=0) + 1
    drawn = []
    for drug in np.flatnonzero((links - public).any(axis=1)):
        bound = np.flatnonzero(links[drug] - public[drug])
        chances = np.where(links[drug] > 0, 0.0, weights)
        unbound = random.choice(len(chances), size=len(bound), replace=False, p=chances / chances.sum())
        targets, labels = np.concatenate([bound, unbound]), np.repeat([1, 0], len(bound))
        order = random.permutation(len(targets))[:MOST_PAIRS]
        drawn.append(np.stack([np.full(len(order), drug), targets[order], labels[order]]))
    return np.concatenate(drawn, axis=1)


def prepare(source: Path, target: Path) -> None:
    """Read the networks of ``source`` and write the files of all sites under ``target``."""
    with np.load(source) as arrays:
        links, of_drugs, of_targets = (
            read_network(arrays, name) for name in ("drug_protein", "drug_disease", "protein_disease")
        )
    bound, binding = links.any(axis=0), links.any(axis=1)
    links, of_drugs, of_targets = links[binding][:, bound], of_drugs[binding], of_targets[bound]
    random = np.random.default_rng(0)
    public = choose_public(links, random)
    drugs, targets = public.shape
    upper = np.block(
        [[np.zeros((drugs, drugs)), public, of_drugs], [np.zeros((targets, drugs + targets)), of_targets]]
    )
    network = np.zeros((upper.shape[1],) * 2)
    network[: drugs + targets] = upper
    vectors = embed_walks(network + network.T, WIDTH)[: drugs + targets]
    vectors /= np.abs(vectors).max()
    rules = np.stack(
        [
            score_by_drugs(public, compute_cosines(vectors[:drugs])),
            score_by_targets(public, compute_cosines(vectors[drugs:])),
        ],
        axis=2,
    )
    rules /= np.abs(rules).max(axis=(0, 1))
    pair_drugs, pair_targets, labels = draw_pairs(links, public, random)
    numbers = np.unique(pair_drugs, return_inverse=True)[1]
    for path, chosen in deal(target, numbers, SITES, TEST_EVERY):
        drug, protein = pair_drugs[chosen], pair_targets[chosen]
        np.savez(
            path,
            rules=rules[drug, protein].astype(np.float32),
            drug=vectors[drug].astype(np.float32),
            target=vectors[drugs + protein].astype(np.float32),
            label=labels[chosen],
            patient=np.array([f"drug-{each}" for each in drug]),
        )
        sys.stdout.write(f"{path}: {len(np.unique(drug))} drugs, {chosen.sum()} pairs\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make vectors of a public network, and deal other links.")
    parser.add_argument("source", type=Path, metavar="deepdtnet.npz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
