"""GEDFN: a network whose first layer follows a public graph of genes, and otherwise an ordinary one.

::

    graph layer   h1_j = relu(sum over j itself and its neighbours i of w_ij x_i + b_j)    a unit for each gene
    hidden        h2, h3 = dropout(relu(W h + b))
    outputs       U h3 + d

A gene that the graph does not name sees itself alone. :meth:`Gedfn.rank_genes` gives the paper's importance of each
gene: it is computed from the released weights, so it costs no privacy.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.graph import GraphChoice, GraphLinear, list_edges
from models.layers.heads import count_outputs, shape_outputs

_MOST_LINKS_COUNTED: Final = 50  # the paper's limit: a gene with more neighbours counts as one with so many


class GedfnOptions(Options):
    """The options of ``gedfn``.

    Attributes:
        graph: of the genes: a public one, or ``ring``, which is for generated records.
        hidden: units of the two layers after the graph layer.
        dropout: the part of their values that is set to 0 in training.
    """

    graph: GraphChoice
    hidden: tuple[Units, Units] = (64, 16)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class Gedfn(nn.Module):
    """The graph layer, two hidden layers and the outputs.

    Raises:
        ModelError: the graph has a gene that the data do not have.
    """

    draws_randomly = True

    def __init__(self, options: GedfnOptions, genes: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        first, second = options.hidden
        self.graph_layer = GraphLinear(list_edges(options.graph, genes), genes)
        self.first = nn.Linear(genes, first)
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Dropout(options.dropout),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            nn.Linear(second, count_outputs(outputs)),
        )
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``features`` (records, genes); (records, *outputs)."""
        units = functional.relu(self.graph_layer(inputs["features"]))  # (records, genes)
        return shape_outputs(self.layers(self.first(units)), self._outputs)

    @torch.no_grad()
    def rank_genes(self) -> torch.Tensor:
        """Compute the importance of each gene; (genes,), large ones matter more.

        It is gamma_j times the sizes of the weights into the unit of gene j, and the sizes of those from there to the
        first hidden layer (Kong and Yu 2018). gamma_j = min(1, 50 / d_j), where d_j counts the weights into the unit,
        keeps genes with very many neighbours from being important for that alone.
        """
        links = self.graph_layer.count_links()
        gamma = (_MOST_LINKS_COUNTED / links).clamp(max=1)
        return gamma * self.graph_layer.measure_links() + self.first.weight.abs().sum(0)


def build(options: GedfnOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Gedfn:
    """Build the network for the expression of ``genes`` genes."""
    return Gedfn(options, sizes["genes"], outputs)


MODEL: Final = ModelEntry(
    title="GEDFN: gene expression through a public graph of genes",
    domain="genomics",
    options=GedfnOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel", "regression"),
    inputs=(
        Input("features", "number", ("genes",), "the expression of each gene, in the order of the graph's nodes"),
    ),
    citation="Kong and Yu 2018, A graph-embedded deep feedforward network for disease outcome classification and "
    "feature selection using gene expression data, Bioinformatics 34(21):3727-3737",
    repository="https://github.com/yunchuankong/GEDFN",
    presets={
        "paper": GedfnOptions(graph="ring"),
        "small": GedfnOptions(graph="ring", hidden=(8, 8), dropout=0.0),
    },
    # A ring of 500 genes has 1,500 weights; with the paper's graph, of 997 edges, it is 36,132 for two outputs.
    counts=(
        Count("paper", {"genes": 500}, (2,), 35_138),
        Count("paper", {"genes": 500}, (), 35_121),
        Count("small", {"genes": 30}, (), 449),
    ),
    example={"genes": 30},
    replaced=(
        Replacement(
            paper="a dense weight, multiplied by the adjacency matrix in each step",
            here="the weights of the graph's edges alone",
            why="the others have no effect, and every parameter gets noise: 36,132 instead of 283,638 for the paper's "
            "500 genes",
        ),
        Replacement(
            paper="the squared weights in the loss, as an option",
            here="no penalty, or training.weight_decay",
            why="a penalty belongs to no patient, and is no part of their gradient",
        ),
        Replacement(
            paper="training ends when the mean loss falls below 0.1",
            here="a fixed number of rounds",
            why="the mean loss is computed from patients: looking at it costs privacy",
        ),
    ),
)
