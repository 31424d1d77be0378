"""What is computed of a public network before a study: walks of random surfers, mutual information, short vectors.

Rules:

* networks are public knowledge. A node's vector depends on the edges of others, so that clipping a node or an edge
  would protect nobody: none of this is for records of patients;
* everything is a closed form: nothing is drawn, so that every author gets the same vectors;
* a node without a neighbour has a row of zeros, where a division by the sum of its row is not defined.

Sources: Cao, Lu and Xu 2016, Deep neural networks for learning graph representations, AAAI, for random surfing and the
mutual information of its visits; Levy and Goldberg 2014, Neural word embedding as implicit matrix factorization, and
Qiu et al. 2018, Network embedding as matrix factorization, for DeepWalk as a factorisation.
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def normalise_rows(values: Matrix) -> Matrix:
    """Divide each row of ``values`` (nodes, n) by its sum; rows of zeros stay zero."""
    sums = values.sum(axis=1, keepdims=True)
    shares: Matrix = np.divide(values, sums, out=np.zeros_like(values), where=sums != 0)
    return shares


def compute_jaccard(links: Matrix) -> Matrix:
    """Compute how alike the rows of ``links`` (nodes, others), 0 or 1, are: shared others over those of either.

    A node is wholly like itself, also one without others; (nodes, nodes).
    """
    shared = links @ links.T
    either = links.sum(axis=1)[:, None] + links.sum(axis=1)[None] - shared
    alike: Matrix = np.divide(shared, either, out=np.zeros_like(shared), where=either != 0)
    np.fill_diagonal(alike, 1.0)
    return alike


def surf_network(network: Matrix, steps: int = 3, onward: float = 0.98) -> Matrix:
    """Sum where a random surfer is after 1, 2, ... ``steps`` steps from each node; (nodes, nodes).

    Args:
        network: weights of edges, at least 0, (nodes, nodes); a node's own is left out.
        steps: how many.
        onward: the chance that a step leads on; otherwise the surfer begins again.
    """
    moves = normalise_rows(_without_diagonal(network))
    start = np.eye(len(network))
    place, total = start, np.zeros_like(start)
    for _ in range(steps):
        place = onward * place @ moves + (1 - onward) * start
        total += place
    return total


def compute_mutual_information(visits: Matrix) -> Matrix:
    """Compute the positive pointwise mutual information of nodes and of those that surfers visit; (nodes, nodes).

    Each row counts the same, and a node's visits to itself do not.
    """
    shares = normalise_rows(_without_diagonal(visits))
    expected = shares.sum(axis=1)[:, None] * shares.sum(axis=0)[None]
    ratio = np.divide(shares * shares.sum(), expected, out=np.zeros_like(shares), where=expected != 0)
    information: Matrix = np.log(np.maximum(ratio, 1.0))
    return information


def embed_walks(network: Matrix, width: int, window: int = 5) -> Matrix:
    """Compute DeepWalk's vectors in closed form: ``width`` numbers for each node, (nodes, width).

    Skip-gram over infinitely many walks factorises ``log(volume * mean_r P^r D^-1)`` for windows of up to ``window``
    steps, P the chances of a step, D the degrees, volume their sum; of values below 1 the logarithm counts as 0. The
    vectors are its largest singular vectors, times the roots of the singular values; the sign of each is such that the
    largest number is positive.

    Args:
        network: weights of edges, at least 0 and the same both ways, (nodes, nodes).
        width: at most the number of nodes.
        window: steps between two nodes that count as near.
    """
    degrees = network.sum(axis=1)
    moves, step = normalise_rows(network), np.eye(len(network))
    total = np.zeros_like(network)
    for _ in range(window):
        step = step @ moves
        total += step
    inverse = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees != 0)
    near = degrees.sum() / window * total * inverse[None]
    # of a symmetric matrix, singular vectors are those of the eigenvalues with the largest sizes
    values, found = np.linalg.eigh(np.log(np.maximum((near + near.T) / 2, 1.0)))
    order = np.argsort(-np.abs(values), kind="stable")[:width]
    vectors: Matrix = found[:, order] * np.sqrt(np.abs(values[order]))
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    return vectors * np.where(largest < 0, -1.0, 1.0)


def _without_diagonal(values: Matrix) -> Matrix:
    rest = values.astype(np.float64)
    np.fill_diagonal(rest, 0.0)
    return rest
