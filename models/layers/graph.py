"""A public graph in a model's options, and a linear layer that has weights on its edges alone.

Rules:

* a graph is public knowledge, such as which proteins bind each other; never one that was computed from patients;
* it stands in the terms with its edges, so that every site signs the same one. ``sha256`` tells from which file it was
  read: ``consilium study graph`` reads it again;
* an edge has no direction: it is two numbers, the smaller first, which count the model's inputs from 0. Edges are in
  rising order, each once, so that one graph has one form;
* every node is joined with itself, which is not written.
"""

from typing import Annotated, ClassVar, Final, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from models.entry import Options
from models.errors import ModelError

MOST_EDGES: Final = 140_000
"""Of a graph: as many as fit into the terms of a study."""

Node = Annotated[int, Field(ge=0, lt=1_000_000)]
Edge = tuple[Node, Node]


class Graph(Options):
    """A public graph.

    Attributes:
        source: where it is from, in words.
        sha256: of the file from which the edges were read.
        edges: pairs of nodes, in rising order.
    """

    source: str = Field(min_length=1, max_length=400)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    edges: tuple[Edge, ...] = Field(min_length=1, max_length=MOST_EDGES)

    @model_validator(mode="after")
    def _in_its_form(self) -> Self:
        if turned := next((edge for edge in self.edges if edge[0] >= edge[1]), None):
            raise ValueError(f"edges: expected two different numbers, the smaller first, got {list(turned)}")
        for before, after in zip(self.edges, self.edges[1:], strict=False):
            if before >= after:
                raise ValueError(
                    f"edges: expected rising order and each edge once, got {list(after)} after {list(before)}"
                )
        return self


GraphChoice = Graph | Literal["ring"]
"""A graph, or a ring: every node is joined with the next one. A ring is for generated records."""


def list_edges(graph: GraphChoice, nodes: int) -> list[Edge]:
    """List the edges of a graph over ``nodes`` nodes.

    Raises:
        ModelError: the graph has a node that is not there.
    """
    if isinstance(graph, Graph):
        largest = max(after for _, after in graph.edges)
        if largest >= nodes:
            raise ModelError(
                f"model.options.graph: names node {largest}, and the data have {nodes} inputs, counted from 0; make "
                "the graph again for these data: consilium study graph"
            )
        return list(graph.edges)
    ring = {(min(node, (node + 1) % nodes), max(node, (node + 1) % nodes)) for node in range(nodes)}
    return sorted(edge for edge in ring if edge[0] < edge[1])


class GraphLinear(nn.Module):
    """A linear layer from nodes to nodes: a node sees itself and its neighbours.

    It is a dense layer whose weight is multiplied by the adjacency matrix, of which only the weights that are not zero
    exist: others would get noise and have no effect. Each link of two nodes has one weight for each direction.
    """

    initial_gain: ClassVar[float] = 0.5
    """First weights are uniform in +-1/2: the right width for a node with three neighbours."""

    def __init__(self, edges: list[Edge], nodes: int) -> None:
        super().__init__()
        links = sorted(
            [*edges, *((after, before) for before, after in edges), *((node, node) for node in range(nodes))]
        )
        self.weight = nn.Parameter(torch.rand(len(links), 1) - 0.5)  # (links, 1)
        self.bias = nn.Parameter(torch.zeros(nodes))
        # No buffers: which node sees which is in the terms, not in the released weights.
        self._to = torch.tensor([link[0] for link in links])  # (links,)
        self._from = torch.tensor([link[1] for link in links])  # (links,)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return for each node the weighted sum over itself and its neighbours, and a bias; (records, nodes) both."""
        at = values.device
        carried = values[:, self._from.to(at)] * self.weight[:, 0]  # (records, links)
        return torch.zeros_like(values).index_add(1, self._to.to(at), carried) + self.bias

    def measure_links(self) -> torch.Tensor:
        """Return the sum of the sizes of the weights into each node; (nodes,)."""
        return torch.zeros_like(self.bias).index_add(0, self._to.to(self.bias.device), self.weight[:, 0].abs())

    def count_links(self) -> torch.Tensor:
        """Return how many nodes each node sees, itself among them; (nodes,)."""
        return torch.bincount(self._to, minlength=self.bias.shape[0]).to(self.bias.device)
