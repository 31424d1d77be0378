import math

import numpy as np
import pytest

from models.layers.network_embedding import (
    compute_jaccard,
    compute_mutual_information,
    embed_walks,
    normalise_rows,
    surf_network,
)


def draw_network(nodes: int = 7, seed: int = 0) -> np.ndarray:
    """A network with a node without a neighbour."""
    links = np.triu(np.random.default_rng(seed).random((nodes, nodes)) < 0.5, 1).astype(float)
    links[:, -1] = links[-1] = 0
    both: np.ndarray = links + links.T
    return both


def test_row_of_zeros_stays_zero() -> None:
    assert normalise_rows(np.array([[1.0, 3.0], [0.0, 0.0]])).tolist() == [[0.25, 0.75], [0.0, 0.0]]


def test_likeness_is_shared_over_either_and_that_of_itself_is_whole() -> None:
    links = (np.random.default_rng(0).random((5, 6)) < 0.5).astype(float)
    links[4] = 0
    found = compute_jaccard(links)
    for one in range(5):
        for other in range(5):
            mine, yours = set(np.flatnonzero(links[one])), set(np.flatnonzero(links[other]))
            want = len(mine & yours) / len(mine | yours) if mine | yours else 0.0
            assert found[one, other] == pytest.approx(1.0 if one == other else want)


def test_surfer_is_where_chances_say_step_by_step() -> None:
    network = draw_network()
    found = surf_network(network, steps=3, onward=0.9)
    for start in range(7):
        place = np.eye(7)[start]
        want = np.zeros(7)
        for _ in range(3):
            moved = np.zeros(7)
            for node in range(7):
                for neighbour in range(7):
                    if network[node, neighbour]:
                        moved[neighbour] += place[node] / network[node].sum()
            place = 0.9 * moved + 0.1 * np.eye(7)[start]
            want += place
        assert found[start] == pytest.approx(want)


def test_mutual_information_is_that_of_counts_and_never_negative() -> None:
    visits = surf_network(draw_network())
    found = compute_mutual_information(visits)
    shares = visits.copy()
    np.fill_diagonal(shares, 0)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)
    for one in range(7):
        for other in range(7):
            share = shares[one, other]
            expected = shares[one].sum() * shares[:, other].sum() / shares.sum()
            want = max(0.0, math.log(share / expected)) if share else 0.0
            assert found[one, other] == pytest.approx(want)
    assert found[-1].tolist() == [0.0] * 7


def test_vectors_give_back_the_logarithm_of_counted_walks() -> None:
    """Windows over many drawn walks count what the closed form computes; all numbers of vectors restore it."""
    network = draw_network()[:6, :6]
    random, near = np.random.default_rng(0), np.zeros((6, 6))
    degrees = network.sum(axis=1)
    for start in random.choice(6, 4000, p=degrees / degrees.sum()):
        walk = [start]
        for _ in range(12):
            walk.append(random.choice(6, p=network[walk[-1]] / degrees[walk[-1]]))
        for place, node in enumerate(walk[:11]):
            for other in walk[place + 1 : place + 3]:
                near[node, other] += 1
                near[other, node] += 1
    counted = near * near.sum() / (near.sum(1)[:, None] * near.sum(0)[None])
    vectors = embed_walks(network, 6, window=2)
    restored = vectors @ vectors.T  # the logarithm is symmetric; signs of singular values are lost
    wanted = np.log(np.maximum(counted, 1.0))
    squares = wanted @ wanted
    assert restored @ restored == pytest.approx(squares, abs=0.12 * squares.max())


def test_signs_of_vectors_do_not_depend_on_the_machine() -> None:
    vectors = embed_walks(draw_network(), 4)
    assert (vectors.max(axis=0) >= -vectors.min(axis=0)).all()
