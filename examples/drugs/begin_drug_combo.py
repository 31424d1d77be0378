"""Make the weights that ``drug_combo.yaml`` may begin with, from the human interactome.

    python examples/drugs/begin_drug_combo.py FOLDER WEIGHTS.safetensors [--steps 200]

FOLDER has public data: ``interactome/ppi.npz``, ``interactome/disease_genes.json.gz`` and
``interactome/drug_targets.json.gz`` (https://github.com/emreg00/proximity), and ``gedfn/brca_er.npz``, which says which
genes the study's are. The hierarchical autoencoder learns all 13,329 genes of the largest connected part, and above
them the diseases; the codes of the study's genes become the columns of the model's first layer. A gene that the
interactome lacks keeps a random column. Nothing of it is private. The digest that is printed goes into the study as
``model.start``, and the file to each site (``consilium-site weights add``).

Of the interactions a tenth is not learned from: how well the codes tell them from other pairs is printed, beside what
the number of neighbours tells; also from pairs of the same genes, exchanged, where that number tells nothing. It takes
about two minutes on one core, and 0.8 GB of memory.
"""

import argparse
import gzip
import hashlib
import json
import sys
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score

from models.drugs.drug_combo import DrugCombo, embed_genes
from models.fit import build_module
from models.layers.graph_autoencoder import draw_others
from models.molecules.interactome import Interactome
from privacy.study import read_terms

HELD_OUT: Final = 10  # one interaction in so many
SMALLEST: Final = 10  # genes of a disease
TARGETS: Final = 3  # of a drug, at least
NAMES: Final = 64  # random signs of each gene, so that genes without a disease are not all alike
ALIKE: Final = 0.1  # genes that two diseases share, of the genes of either, so that an edge joins them
_STUDY: Final = Path(__file__).parent / "drug_combo.yaml"


def read_members(source: Path, network: Interactome, least: int) -> torch.Tensor:
    """Read groups of genes, such as a disease's or a drug's targets; (groups, genes), 0 or 1."""
    groups = json.loads(gzip.decompress(source.read_bytes())).values()
    found = [places for genes in groups if len(places := network.find(genes)) >= least]
    members = torch.zeros(len(found), len(network.genes))
    for row, places in enumerate(found):
        members[row, places] = 1
    different: torch.Tensor = torch.unique(members, dim=0)  # one set of genes under two names is one group
    return different


def join_diseases(members: torch.Tensor) -> torch.Tensor:
    """Join diseases that share genes; (diseases, diseases), 0 or 1."""
    shared = members @ members.T
    either = members.sum(1)[:, None] + members.sum(1)[None] - shared
    joined: torch.Tensor = (shared / either >= ALIKE).float()
    return joined.fill_diagonal_(0)


def begin(source: Path, target: Path, steps: int) -> str:
    """Write the weights to ``target``; return their digest."""
    terms = read_terms(_STUDY)
    torch.manual_seed(0)
    module = build_module(terms.model, terms.data, terms.task)
    assert isinstance(module, DrugCombo)
    folder = source / "interactome"
    with np.load(folder / "ppi.npz") as arrays:
        network = Interactome(arrays["gene"].tolist(), arrays["edge"])
    diseases = read_members(folder / "disease_genes.json.gz", network, SMALLEST)
    drugs = read_members(folder / "drug_targets.json.gz", network, TARGETS)
    edges = torch.from_numpy(network.list_edges())
    edges = edges[torch.randperm(len(edges))]
    kept, hidden = edges[len(edges) // HELD_OUT :], edges[: len(edges) // HELD_OUT]
    names = torch.randint(2, (len(network.genes), NAMES)).float() * 2 - 1
    sys.stdout.write(
        f"{len(network.genes)} genes, {len(edges)} interactions, {len(diseases)} diseases, {len(drugs)} drugs\n"
    )
    codes = embed_genes(
        [kept],
        [diseases.T.contiguous(), drugs.T.contiguous(), names / NAMES**0.5],
        diseases,
        join_diseases(diseases),
        width=module.genes.out_features,
        steps=steps,
        rate=0.01,
    )
    compared = {
        "any pairs": draw_others(len(network.genes), edges, len(hidden)),
        "pairs of the same genes": torch.stack([hidden[:, 0], hidden[torch.randperm(len(hidden)), 1]], 1),
    }
    degree = torch.bincount(kept.flatten(), minlength=len(network.genes)).float()
    for title, others in compared.items():
        truth = np.repeat([1, 0], [len(hidden), len(others)])
        for name, values in (("codes", codes.genes), ("numbers of neighbours", degree[:, None].sqrt())):
            scores = torch.cat([(values[pairs[:, 0]] * values[pairs[:, 1]]).sum(1) for pairs in (hidden, others)])
            sys.stdout.write(
                f"interactions told from {title} by {name}: AUROC {roc_auc_score(truth, scores):.3f}\n"
            )
    with np.load(source / "gedfn" / "brca_er.npz") as arrays:
        places = [network.find([gene]) for gene in arrays["entrez"].tolist()]
    begun = module.genes.weight.detach().T.clone()
    there = [row for row, place in enumerate(places) if place]
    found = codes.genes[[place[0] for place in places if place]]
    begun[there] = (found - found.mean(0)) / found.std(0).clamp(min=1e-6) * begun.std()
    module.begin_with_codes(begun)
    save_file(module.state_dict(), target)
    sys.stdout.write(f"{len(there)} of {len(places)} genes of the study have a code\n")
    return hashlib.sha256(target.read_bytes()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the weights that drug_combo.yaml may begin with.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with interactome and gedfn")
    parser.add_argument("target", type=Path, metavar="WEIGHTS.safetensors")
    parser.add_argument("--steps", type=int, default=200, help="of Adam, each over all genes")
    asked = parser.parse_args()
    sys.stdout.write(f"start: {begin(asked.source, asked.target, asked.steps)}\n")
