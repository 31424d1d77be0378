import itertools

import pytest
import torch
from torch.nn import functional

from models.catalogue import check_options
from models.entry import Count
from models.errors import ModelError
from models.genomics.gedfn import MODEL, GedfnOptions, build
from models.layers.graph import Edge, Graph
from tests.models.counting import count_parameters

GENES = 500


def options(edges: list[Edge]) -> GedfnOptions:
    return GedfnOptions(graph=Graph(source="invented", sha256="0" * 64, edges=tuple(edges)))


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: f"{count.preset}{count.outputs}")
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


@pytest.mark.parametrize(
    ("edges", "parameters"),
    [
        pytest.param(997, 36_132, id="the graph of the authors' example: 2,494 weights with the 500 self-loops"),
        pytest.param(GENES * (GENES - 1) // 2, 283_638, id="a complete graph: the dense network"),
    ],
)
def test_parameters_with_a_graph_are_those_of_the_authors(edges: int, parameters: int) -> None:
    chosen = list(itertools.islice(itertools.combinations(range(GENES), 2), edges))
    module = build(options(chosen), {"genes": GENES}, (2,))
    assert sum(each.numel() for each in module.parameters()) == parameters


def test_outputs_are_those_of_the_paper_written_with_a_dense_masked_weight() -> None:
    torch.manual_seed(3)
    edges: list[Edge] = [(0, 1), (1, 3), (2, 3)]
    module = build(options(edges), {"genes": 5}, ()).eval()
    adjacency = torch.eye(5)
    for one, other in edges:
        adjacency[one, other] = adjacency[other, one] = 1
    dense = torch.zeros(5, 5)
    dense[adjacency == 1] = module.graph_layer.weight.detach()[:, 0]
    values = torch.randn(6, 5)
    hidden = functional.relu(functional.linear(values, dense * adjacency, module.graph_layer.bias))
    for layer in (module.first, module.layers.get_submodule("2")):
        hidden = functional.relu(layer(hidden))
    torch.testing.assert_close(module({"features": values}), module.layers.get_submodule("5")(hidden)[:, 0])


def test_gene_with_more_than_fifty_links_counts_as_one_with_fifty() -> None:
    star: list[Edge] = [(0, other) for other in range(1, 100)]
    module = build(options(star), {"genes": 101}, ())
    with torch.no_grad():
        module.graph_layer.weight.fill_(-1.0)
        module.first.weight.fill_(0.25)
    ranked = module.rank_genes()
    hidden = 64 * 0.25
    assert float(ranked[0]) == pytest.approx(100 * 50 / 100 + hidden)
    assert float(ranked[1]) == pytest.approx(2 + hidden)
    assert float(ranked[100]) == pytest.approx(1 + hidden)  # the graph does not name it


def test_importance_is_highest_for_the_gene_that_decides() -> None:
    torch.manual_seed(0)
    module = build(options([(0, 1), (2, 3), (4, 5)]), {"genes": 8}, ())
    values = torch.randn(400, 8)
    label = (values[:, 3] > 0).float()
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01, weight_decay=0.01)
    for _ in range(200):
        optimiser.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(module({"features": values}), label)
        torch.autograd.backward(loss)
        optimiser.step()
    # gene 2 sees gene 3, so its unit may carry the answer too
    assert set(module.rank_genes().topk(2).indices.tolist()) <= {2, 3}


def test_study_without_a_graph_is_refused() -> None:
    with pytest.raises(ModelError, match=r"model.options.graph: missing"):
        check_options("gedfn", {})
    assert check_options("gedfn", {"graph": "ring"}) == MODEL.presets["paper"]
