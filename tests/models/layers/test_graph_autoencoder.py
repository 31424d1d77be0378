import pytest
import torch

from models.layers.graph_autoencoder import (
    ConvolutionOfNetworks,
    compute_edge_loss,
    draw_others,
    estimate_edge_loss,
    normalise_edges,
    normalise_network,
    pool_groups,
)


def draw_network(nodes: int = 6, seed: int = 0) -> torch.Tensor:
    links = torch.triu(torch.rand(nodes, nodes, generator=torch.Generator().manual_seed(seed)) < 0.4, 1).float()
    return links + links.T


def test_normalised_network_is_that_of_its_entries() -> None:
    network = draw_network()
    found, degrees = normalise_network(network), network.sum(1) + 1
    for one in range(6):
        for other in range(6):
            joined = float(network[one, other]) + (one == other)
            assert float(found[one, other]) == pytest.approx(joined / float(degrees[one] * degrees[other]) ** 0.5)


def test_convolution_weighs_kinds_of_edges_feature_by_feature() -> None:
    torch.manual_seed(0)
    layer = ConvolutionOfNetworks(2, 3, 4)
    networks, values = [normalise_network(draw_network(seed=seed)) for seed in (0, 1)], torch.randn(6, 3)
    found = layer(values, networks).detach()
    for node in range(6):
        for feature in range(4):
            kinds = [
                torch.relu((network @ kind(values))[node, feature])
                for network, kind in zip(networks, layer.kinds, strict=True)
            ]
            torch.testing.assert_close(found[node, feature], layer.weigh(torch.stack(kinds)).detach()[0])


def test_small_layers_have_the_parameters_of_the_authors_code() -> None:
    layer = ConvolutionOfNetworks(6, 10, 32)
    assert sum(value.numel() for value in layer.parameters()) == 6 * 10 * 32 + 91


def test_edges_weigh_as_much_as_all_other_pairs() -> None:
    """Where every logit is 0, edges and others each cost half of log 2 times the same number of pairs."""
    network = draw_network()
    codes = torch.zeros(6, 3)
    pairs, edges = 36, float(network.sum())
    wanted = pairs / (2 * (pairs - edges)) * 2 * (pairs - edges) / pairs * 0.6931472
    assert float(compute_edge_loss(codes, network)) == pytest.approx(wanted, rel=1e-5)


def test_sparse_network_is_the_dense_one() -> None:
    network = draw_network()
    found = normalise_edges(6, torch.triu(network).nonzero())
    torch.testing.assert_close(found.to_dense(), normalise_network(network))


def test_loss_of_all_other_pairs_is_that_of_the_dense_network() -> None:
    network, codes = draw_network(), torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    found = estimate_edge_loss(codes, torch.triu(network).nonzero(), (network == 0).nonzero())
    torch.testing.assert_close(found, compute_edge_loss(codes, network))


def test_loss_of_drawn_pairs_is_near_that_of_all() -> None:
    network, codes = draw_network(40), torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    edges = torch.triu(network).nonzero()
    others = draw_others(40, edges, 60_000)
    assert not bool(network[others[:, 0], others[:, 1]].any())
    pairs = set(map(tuple, others.tolist()))
    assert len(pairs) == int(
        (network == 0).sum()
    )  # each of 1,600 is drawn 37 times: one lacks with a chance of 1e-13
    wanted = compute_edge_loss(codes, network)
    # softplus of products of three normal numbers has a deviation of about 1.2
    torch.testing.assert_close(estimate_edge_loss(codes, edges, others), wanted, atol=0.02, rtol=0)


def test_pooled_group_depends_on_its_own_nodes_and_their_weights_sum_to_one() -> None:
    values, scores = torch.randn(5, 3), torch.randn(5)
    groups = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 0, 1, 0]])
    found = pool_groups(values, scores, groups)
    torch.testing.assert_close(found[1], values[3])
    share = torch.sigmoid(scores[0] - scores[1])
    torch.testing.assert_close(found[0], share * values[0] + (1 - share) * values[1])
