"""Distances between sets of genes on a public network of proteins: is a drug near a disease, are two drugs apart.

::

    separation   s_AB = d(A, B) - (d(A, A) + d(B, B)) / 2      below 0: one neighbourhood; else two that are apart
                 d(A, B)   mean over the genes of both, of the distance to the nearest gene of the other set
                 d(A, A)   mean over the genes of A, of the distance to the nearest other gene of A; of one gene, 0
    proximity    mean over a drug's targets, of the distance to the nearest gene of the disease, in standard deviations
                 from what as many genes with about as many neighbours have

Rules:

* networks are public knowledge: nothing of patients is read here;
* only the largest connected part is used, in which every distance is a number. Directions do not matter, and an edge of
  a gene with itself is none;
* the random genes of the proximity are drawn one by one, so that mean and deviation are closed forms and nothing is
  drawn. (The authors draw a thousand sets, and sets for the disease too.)

Sources: Menche et al. 2015, Uncovering disease-disease relationships through the incomplete interactome, Science 347,
for s_AB; Guney et al. 2016, Network-based in silico drug efficacy screening, Nature Communications 7:10331, for the
proximity; Cheng, Kovács and Barabási 2019, Network-based prediction of drug combinations, Nature Communications 10.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from models.errors import ModelError

Distances = NDArray[np.uint8]

_AT_ONCE: Final = 256  # sources of a search: 256 x 13,329 genes are 14 MB
_BIN: Final = 100  # genes of about the same degree, at least, among which a random one is drawn


class Interactome:
    """The largest connected part of a network of proteins.

    Args:
        genes: what each node is called.
        edges: pairs of nodes, by their place in ``genes``; (edges, 2).

    Attributes:
        genes: of the largest part, in the order of ``genes``; distances have their order.
        degree: how many neighbours each has.

    Raises:
        ModelError: an edge has a node that is not there.
    """

    def __init__(self, genes: Sequence[int], edges: NDArray[np.integer]) -> None:
        if edges.size and not 0 <= edges.min() <= edges.max() < len(genes):
            raise ModelError(f"expected edges between the {len(genes)} genes, got {edges.min()} to {edges.max()}")
        between = edges[edges[:, 0] != edges[:, 1]].astype(np.int64)
        both = np.concatenate([between, between[:, ::-1]])
        shape = (len(genes), len(genes))
        whole = csr_matrix(coo_matrix((np.ones(len(both), dtype=np.float32), both.T), shape=shape))
        whole.data[:] = 1  # an edge that is listed twice is one
        _, part = connected_components(whole, directed=False)
        kept = np.flatnonzero(part == np.bincount(part).argmax())
        self._neighbours = whole[kept][:, kept]
        self.genes = [genes[node] for node in kept.tolist()]
        self.degree: NDArray[np.int64] = np.diff(self._neighbours.indptr).astype(np.int64)
        self._place = {gene: place for place, gene in enumerate(self.genes)}

    def find(self, genes: Iterable[int]) -> list[int]:
        """Return the places of ``genes`` in rising order; those that are not here are left out."""
        return sorted({self._place[gene] for gene in genes if gene in self._place})

    def list_edges(self) -> NDArray[np.int64]:
        """List the edges, each once, by the places of their genes; (edges, 2), the smaller place first."""
        ends = coo_matrix(self._neighbours)
        pairs = np.stack([ends.row, ends.col], axis=1).astype(np.int64)
        return pairs[pairs[:, 0] < pairs[:, 1]]

    def measure_distances(self, sources: Sequence[int]) -> Distances:
        """Count the edges of a shortest path from each place in ``sources`` to each gene; (sources, genes)."""
        found = np.zeros((len(sources), len(self.genes)), dtype=np.uint8)
        for begin in range(0, len(sources), _AT_ONCE):
            chosen = sources[begin : begin + _AT_ONCE]
            reached = np.zeros((len(self.genes), len(chosen)), dtype=np.float32)
            reached[chosen, range(len(chosen))] = 1
            seen, steps = reached > 0, 0
            while not seen.all():
                steps += 1
                reached = ((self._neighbours @ reached > 0) & ~seen).astype(np.float32)
                seen |= reached > 0
                found[begin : begin + len(chosen)][reached.T > 0] = steps
        return found


def compute_separation(distances: Distances, first: Sequence[int], second: Sequence[int]) -> float:
    """Compute s_AB of two sets of genes, in edges.

    Args:
        distances: between genes; (genes, genes).
        first: places of the genes of A.
        second: those of B.

    Raises:
        ModelError: a set is empty.
    """
    if not first or not second:
        raise ModelError("a separation is that of two sets of genes; one of them is empty")
    across = distances[np.ix_(first, second)].astype(float)
    between = np.concatenate([across.min(axis=1), across.min(axis=0)]).mean()
    return float(between - (_measure_within(distances, first) + _measure_within(distances, second)) / 2)


def _measure_within(distances: Distances, genes: Sequence[int]) -> float:
    if len(genes) == 1:
        return 0.0
    among = distances[np.ix_(genes, genes)].astype(float)
    np.fill_diagonal(among, np.inf)
    return float(among.min(axis=1).mean())


def compute_proximity(nearest: Distances, degree: NDArray[np.int64], targets: Sequence[int]) -> float:
    """Compute how near a drug's targets are to a disease: standard deviations from random genes, nearer ones below 0.

    Args:
        nearest: the distance of each gene to the nearest gene of the disease; (genes,).
        degree: the neighbours of each gene; (genes,).
        targets: places of the drug's targets.

    Edge cases: a drug whose random genes all have the same distance has 0.

    Raises:
        ModelError: there is no target.
    """
    if not len(targets):
        raise ModelError("a proximity is that of a drug with targets; it has none")
    means, variances = _summarise_degrees(nearest, degree)
    expected, variance = means[targets].mean(), variances[targets].sum() / len(targets) ** 2
    return float((nearest[targets].mean() - expected) / np.sqrt(variance)) if variance > 0 else 0.0


def _summarise_degrees(
    nearest: Distances, degree: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute mean and variance of ``nearest`` among the genes that have about the degree of each; (genes,) each."""
    counts = np.bincount(degree)
    bin_of_degree, number, held = np.zeros(len(counts), dtype=np.int64), 0, 0
    left = len(degree)
    for value, count in enumerate(counts):
        bin_of_degree[value] = number
        held, left = held + count, left - count
        if held >= _BIN and left >= _BIN:  # the last bin takes what would be too few
            number, held = number + 1, 0
    bins = bin_of_degree[degree]
    sizes = np.maximum(1, np.bincount(bins, minlength=number + 1))
    means = np.bincount(bins, weights=nearest, minlength=number + 1) / sizes
    squares = np.bincount(bins, weights=nearest.astype(float) ** 2, minlength=number + 1) / sizes
    return means[bins], (squares - means**2)[bins].clip(min=0)
