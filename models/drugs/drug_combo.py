"""Drug combinations: public networks give vectors of genes and diseases, and a reward says which sets of targets fit.

::

    public     genes     relu(A_k X W_k) for each kind of edge k, weighed -> 64 -> mean and deviation of a code of 32
               diseases  a disease's genes, pooled by attention -> graph convolutions -> a code of 16
    public     reward    of two drugs' targets: the part of the disease's genes that exactly one of them hits
    private    logit of each label = layers on the genes that a patient's tumour has changed, through the genes' codes

**Privacy unit of the networks' part: none.** Networks and drugs' targets are public knowledge, and no gradient there
belongs to a record (``models/layers/graph_autoencoder.py``). :func:`embed_genes` makes the codes before a study. What
hospitals train together is the last line, and a patient there is a patient: epsilon protects them. The codes are the
weights of its first layer, and enter the study by digest (``model.start``), frozen if the study says so.

Two molecules for a disease are built after the study, by two policies that see its genes' codes in the released model
and learn by the reward of networks (``models/molecules``, ``examples/drugs/generate_drug_pairs.py``): no record is
read, and it costs no privacy. :func:`search_pairs` looks through the pairs of known drugs by the same reward.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.gaussian_code import bound_log_variance, compute_divergence, draw_code
from models.layers.graph_autoencoder import (
    ConvolutionOfNetworks,
    compute_edge_loss,
    draw_others,
    estimate_edge_loss,
    normalise_edges,
    normalise_network,
    pool_groups,
)
from models.layers.heads import count_outputs, shape_outputs

_NARROW: Final = -4.0
"""Of a log variance to begin with: among wide codes all means become the same, and no edge is learned."""


class DrugComboOptions(Options):
    """The options of ``drug-combo``.

    Attributes:
        code: numbers of a gene's code.
        hidden: units between a patient's code and the outputs.
    """

    code: int = Field(default=32, ge=1, le=4096)
    hidden: int = Field(default=32, ge=1, le=4096)


class DrugCombo(nn.Module):
    """A patient's changed genes through the genes' codes, and layers to the outputs."""

    def __init__(self, options: DrugComboOptions, genes: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.genes = nn.Linear(genes, options.code, bias=False)  # its columns are the codes
        self.hidden = nn.Linear(options.code, options.hidden)
        self.head = nn.Linear(options.hidden, count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``genes`` (records, genes); (records, *outputs)."""
        values = self.genes(inputs["genes"])
        return shape_outputs(self.head(functional.elu(self.hidden(values))), self._outputs)

    @torch.no_grad()
    def begin_with_codes(self, codes: torch.Tensor) -> None:
        """Take public ``codes`` (genes, code) as the weights of the first layer."""
        self.genes.weight.copy_(codes.T)


class NetworkAutoencoder(nn.Module):
    """The hierarchical variational autoencoder: of a graph of genes, and above it of one of diseases.

    Args:
        networks: kinds of edges between genes.
        features: numbers of a gene in each set of features.
        width: of each set's layer; a gene's code has as many numbers, a disease's half of them.
    """

    def __init__(self, networks: int, features: Sequence[int], width: int = 32) -> None:
        super().__init__()
        self.sets = nn.ModuleList(ConvolutionOfNetworks(networks, each, width) for each in features)
        self.hidden = ConvolutionOfNetworks(networks, width * len(features), 2 * width)
        self.mean = ConvolutionOfNetworks(networks, 2 * width, width)
        self.log_variance = ConvolutionOfNetworks(networks, 2 * width, width)
        self.attention = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))
        self.disease_hidden = nn.Linear(width, width, bias=False)
        self.disease_mean = nn.Linear(width, width // 2, bias=False)
        self.disease_log_variance = nn.Linear(width, width // 2, bias=False)

    def encode(
        self, features: Sequence[torch.Tensor], networks: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance of the genes' codes; (genes, width) each. Networks are normalised ones."""
        sets = [layer(each, networks) for layer, each in zip(self.sets, features, strict=True)]
        hidden = self.hidden(torch.cat(sets, dim=1), networks)
        return self.mean(hidden, networks), bound_log_variance(self.log_variance(hidden, networks) + _NARROW)

    def encode_diseases(
        self, means: torch.Tensor, members: torch.Tensor, network: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance of the diseases' codes; (diseases, width / 2) each.

        Args:
            means: of the genes' codes, (genes, width).
            members: which genes each disease has, (diseases, genes), 0 or 1.
            network: between diseases, normalised, (diseases, diseases).
        """
        pooled = pool_groups(means, self.attention(means)[:, 0], members)
        hidden = torch.relu(network @ self.disease_hidden(pooled))
        log_variance = bound_log_variance(network @ self.disease_log_variance(hidden) + _NARROW)
        return network @ self.disease_mean(hidden), log_variance


class Codes(NamedTuple):
    """Vectors of public networks: of genes, (genes, width), and of diseases, (diseases, width / 2)."""

    genes: torch.Tensor
    diseases: torch.Tensor


def embed_genes(
    networks: Sequence[torch.Tensor],
    features: Sequence[torch.Tensor],
    members: torch.Tensor,
    diseases: torch.Tensor,
    *,
    width: int = 32,
    steps: int = 2000,
    rate: float = 1e-3,
    seed: int = 0,
) -> Codes:
    """Train a :class:`NetworkAutoencoder` on public networks and return the means of its codes.

    Memory grows with genes and edges, not with pairs of genes: each step draws as many of these as there are edges.

    Args:
        networks: between genes, the edges of each kind, (edges, 2), each listed once and none of a gene with itself.
        features: sets of features of the genes, (genes, n) each.
        members: which genes each disease has, (diseases, genes), 0 or 1, at least one.
        diseases: between diseases, (diseases, diseases), 0 or 1 and the same both ways.
        width: of a gene's code.
        steps: of Adam, each over all nodes.
        rate: of Adam.
        seed: of first values and noise.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        module = NetworkAutoencoder(len(networks), [each.shape[1] for each in features], width)
        genes = members.shape[1]
        normal, above = [normalise_edges(genes, each) for each in networks], normalise_network(diseases)
        any_kind = torch.unique(torch.cat([each.sort(1).values for each in networks]), dim=0)
        optimiser = torch.optim.Adam(module.parameters(), lr=rate)
        for _ in range(steps):
            mean, log_variance = module.encode(features, normal)
            upper, upper_variance = module.encode_diseases(mean, members, above)
            others = draw_others(genes, any_kind, len(any_kind))
            loss = estimate_edge_loss(draw_code(mean, log_variance), any_kind, others)
            loss = loss + compute_edge_loss(draw_code(upper, upper_variance), diseases)
            loss = loss + compute_divergence(mean, log_variance).mean() / mean.shape[0]
            loss = loss + compute_divergence(upper, upper_variance).mean() / upper.shape[0]
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        with torch.no_grad():
            mean, _ = module.encode(features, normal)
            return Codes(mean, module.encode_diseases(mean, members, above)[0])


class NetworkReward(NamedTuple):
    """Parts of a disease's genes: hit by exactly one of two drugs, and by both."""

    complementary: float
    overlapping: float


def reward_pair(disease: Collection[int], first: Collection[int], second: Collection[int]) -> NetworkReward:
    """Judge two drugs by their targets: drugs that hit different genes of a disease suit each other.

    Args:
        disease: the genes of the disease.
        first: the targets of one drug.
        second: those of the other.
    """
    genes, one, other = set(disease), set(first), set(second)
    if not genes:
        return NetworkReward(0.0, 0.0)
    return NetworkReward(len(genes & (one ^ other)) / len(genes), len(genes & one & other) / len(genes))


def search_pairs(
    disease: Collection[int], targets: Mapping[str, Collection[int]], most: int = 10, overlap: float = 1.0
) -> list[tuple[str, str, NetworkReward]]:
    """List the ``most`` pairs of known drugs with the greatest reward, greatest first; equal ones by name.

    Args:
        disease: the genes of the disease.
        targets: those of each drug, by its name. Drugs that hit no gene of the disease are left out.
        most: how many pairs.
        overlap: how much of the reward a gene that both hit costs.
    """
    genes = set(disease)
    hitting = sorted(name for name, hit in targets.items() if genes & set(hit))
    found = [
        (one, other, reward_pair(genes, targets[one], targets[other])) for one, other in combinations(hitting, 2)
    ]
    return sorted(found, key=lambda pair: (-pair[2].complementary + overlap * pair[2].overlapping, pair[:2]))[:most]


def build(options: DrugComboOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DrugCombo:
    """Build the layers over ``genes`` numbers of a patient."""
    return DrugCombo(options, sizes["genes"], outputs)


MODEL: Final = ModelEntry(
    title="Drug combinations: patients' genes through codes of public networks",
    domain="drugs",
    rate=2.0,
    options=DrugComboOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(Input("genes", "number", ("genes",), "what is changed in each gene of the patient's tumour"),),
    citation="Karimi, Hasanzadeh and Shen 2020, Network-principled deep generative models for designing drug "
    "combinations as graph sets, Bioinformatics 36(Supplement 1):i445-i454",
    repository="https://github.com/Shen-Lab/Drug-Combo-Generator",
    presets={"paper": DrugComboOptions(), "small": DrugComboOptions(code=6, hidden=6)},
    # the disease head on patients is ours; the networks' autoencoder is public and not among these
    counts=(
        Count("paper", {"genes": 250}, (), 9_089),
        Count("small", {"genes": 20}, (), 169),
    ),
    example={"genes": 20},
    replaced=(
        Replacement(
            paper="networks of genes, some of them counted in patients",
            here="public networks alone, before the study",
            why="message passing mixes all nodes: no gradient there belongs to a patient, and none could be clipped",
        ),
        Replacement(
            paper="affinities of the two generated molecules by a trained network (DeepAffinity)",
            here="what the known drugs bind that a molecule is like, as a chance",
            why="not because of privacy: that network's weights are not public",
        ),
        Replacement(
            paper="a bond that breaks a valence is taken back and costs a part of the reward",
            here="such a bond has no chance",
            why="not because of privacy: every molecule is then one, and nothing must be learned for it",
        ),
        Replacement(
            paper="attention over all genes, of which those of a disease are kept",
            here="over the genes of the disease",
            why="not because of privacy: then the weights of a disease sum to one",
        ),
    ),
)
