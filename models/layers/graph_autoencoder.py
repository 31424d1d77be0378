"""Networks of several kinds of edges over the same nodes, and graph autoencoders of them: for public networks alone.

**Privacy unit: none.** A node's vector depends on its neighbours and on theirs, so that no gradient belongs to one
record and nothing can be clipped for it. What is trained here is public knowledge, as which proteins bind each other;
it runs at a study's author, before the study.

Sources: Kipf and Welling 2016, Variational graph auto-encoders, arXiv:1611.07308; Karimi, Hasanzadeh and Shen 2020,
Network-principled deep generative models for designing drug combinations as graph sets, Bioinformatics 36:i445-i454.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


def normalise_network(network: torch.Tensor) -> torch.Tensor:
    """Return D^-1/2 (A + I) D^-1/2 of a network A (nodes, nodes), the same both ways; D are the sums of A + I."""
    joined = network + torch.eye(network.shape[0])
    root = joined.sum(1).rsqrt()
    return root[:, None] * joined * root[None]


def normalise_edges(nodes: int, edges: torch.Tensor) -> torch.Tensor:
    """Return what :func:`normalise_network` returns, as a sparse matrix: of ``edges`` (edges, 2), each listed once."""
    loops = torch.arange(nodes).expand(2, -1)
    ends = torch.cat([edges.T, edges.T.flip(0), loops], dim=1)
    root = torch.bincount(ends[0], minlength=nodes).float().rsqrt()
    return torch.sparse_coo_tensor(
        ends, root[ends[0]] * root[ends[1]], (nodes, nodes), check_invariants=True
    ).coalesce()


class ConvolutionOfNetworks(nn.Module):
    """A convolution for each kind of edge, and three small layers that weigh the kinds, the same for every feature.

    Args:
        networks: kinds of edges.
        inputs: numbers of a node.
        width: numbers that a node gets.
    """

    def __init__(self, networks: int, inputs: int, width: int) -> None:
        super().__init__()
        self.kinds = nn.ModuleList(nn.Linear(inputs, width, bias=False) for _ in range(networks))
        self.weigh = nn.Sequential(
            nn.Linear(networks, networks),
            nn.ReLU(),
            nn.Linear(networks, networks),
            nn.ReLU(),
            nn.Linear(networks, 1),
        )
        self._begin_with_the_mean()

    @torch.no_grad()
    def _begin_with_the_mean(self) -> None:
        """Begin with the mean of the kinds.

        Random first values of three rectified layers make nearly the same number of every node, and stay there.
        """
        for kind in self.kinds:
            assert isinstance(kind, nn.Linear)
            nn.init.xavier_normal_(kind.weight, gain=2.0)
        for layer in self.weigh:
            if isinstance(layer, nn.Linear):
                layer.bias.zero_()
                if layer.out_features == 1:
                    layer.weight.fill_(1 / layer.in_features)
                else:
                    layer.weight.copy_(torch.eye(layer.in_features))

    def forward(self, values: torch.Tensor, networks: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the numbers of each node, (nodes, width), from ``values`` (nodes, inputs) and normalised networks."""
        found = [torch.relu(network @ kind(values)) for kind, network in zip(self.kinds, networks, strict=True)]
        weighed: torch.Tensor = self.weigh(torch.stack(found, dim=2)).squeeze(2)
        return weighed


def compute_edge_loss(codes: torch.Tensor, network: torch.Tensor) -> torch.Tensor:
    """Compute the cross-entropy of all edges, where the product of two nodes' codes is the logit; a number.

    Edges weigh as much as all pairs that are none. The mean is over pairs, and so is the weight (Kipf and Welling).
    """
    pairs, edges = network.numel(), network.sum()
    return (
        pairs
        / (2 * (pairs - edges))
        * functional.binary_cross_entropy_with_logits(codes @ codes.T, network, pos_weight=(pairs - edges) / edges)
    )


def estimate_edge_loss(codes: torch.Tensor, edges: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Estimate :func:`compute_edge_loss` without a number for each pair of nodes.

    Its weights make it half of the mean over edges and the mean over all other pairs. So it is estimated without bias
    by pairs that are drawn among the others; with all of them, both ways and each node with itself, it is equal.

    Args:
        codes: of the nodes; (nodes, width).
        edges: each listed once; (edges, 2).
        others: pairs that are no edges; (pairs, 2).
    """
    joined, apart = ((codes[pairs[:, 0]] * codes[pairs[:, 1]]).sum(1) for pairs in (edges, others))
    return (functional.softplus(-joined).mean() + functional.softplus(apart).mean()) / 2


def draw_others(nodes: int, edges: torch.Tensor, count: int) -> torch.Tensor:
    """Draw pairs of nodes that are no edges, from torch's generator; about ``count`` of them, (pairs, 2)."""
    pairs = torch.randint(nodes, (count, 2))
    known = torch.cat([edges, edges.flip(1)])
    return pairs[~torch.isin(pairs[:, 0] * nodes + pairs[:, 1], known[:, 0] * nodes + known[:, 1])]


def pool_groups(values: torch.Tensor, scores: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Return for each group the mean of its nodes' values, weighed by a softmax of their scores over the group.

    Args:
        values: (nodes, width).
        scores: (nodes,).
        groups: which nodes belong to each group, (groups, nodes), 0 or 1; at least one in each.
    """
    within = scores[None].expand_as(groups).masked_fill(groups == 0, -torch.inf)
    return torch.softmax(within, dim=1) @ values
