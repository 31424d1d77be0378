import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import functional

from models.errors import ModelError
from models.layers.graph import Edge, Graph, GraphLinear, list_edges

DIGEST = "0" * 64


def graph(*edges: Edge) -> Graph:
    return Graph(source="invented", sha256=DIGEST, edges=edges)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[Edge]]:
    nodes = draw(st.integers(1, 7))
    pairs = list(itertools.combinations(range(nodes), 2))
    return nodes, sorted(draw(st.sets(st.sampled_from(pairs)))) if pairs else []


@settings(deadline=None)  # the first example loads parts of torch
@given(graphs(), st.integers(0, 1 << 30))
def test_layer_is_a_dense_one_whose_weight_is_multiplied_by_the_adjacency_matrix(
    drawn: tuple[int, list[Edge]], seed: int
) -> None:
    nodes, edges = drawn
    torch.manual_seed(seed)
    layer = GraphLinear(edges, nodes).double()
    adjacency = torch.eye(nodes, dtype=torch.float64)
    for one, other in edges:
        adjacency[one, other] = adjacency[other, one] = 1
    assert layer.weight.numel() == int(adjacency.sum())
    dense = torch.zeros(nodes, nodes, dtype=torch.float64)  # (to, from), written in the order of its own links
    dense[adjacency == 1] = layer.weight.detach()[:, 0]
    values = torch.randn(4, nodes, dtype=torch.float64)
    torch.testing.assert_close(layer(values), functional.linear(values, dense, layer.bias))
    torch.testing.assert_close(layer.measure_links(), dense.abs().sum(1))
    assert layer.count_links().tolist() == adjacency.sum(0).tolist()


def test_ring_joins_every_node_with_the_next_one() -> None:
    assert list_edges("ring", 4) == [(0, 1), (0, 3), (1, 2), (2, 3)]
    assert list_edges("ring", 2) == [(0, 1)]
    assert list_edges("ring", 1) == []


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (((1, 0),), r"smaller first, got \[1, 0\]"),
        (((2, 2),), r"two different numbers, the smaller first, got \[2, 2\]"),
        (((0, 2), (0, 1)), r"rising order and each edge once, got \[0, 1\] after \[0, 2\]"),
        (((0, 1), (0, 1)), "each edge once"),
        (((-1, 1),), "greater than or equal to 0"),
        ((), "at least 1 item"),
    ],
)
def test_graph_in_another_form_is_refused(edges: tuple[Edge, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        graph(*edges)


def test_graph_with_a_node_that_the_data_do_not_have_is_refused() -> None:
    assert list_edges(graph((0, 1), (1, 4)), 5) == [(0, 1), (1, 4)]
    with pytest.raises(
        ModelError, match=r"names node 4, and the data have 4 inputs, counted from 0; .* study graph"
    ):
        list_edges(graph((0, 1), (1, 4)), 4)
