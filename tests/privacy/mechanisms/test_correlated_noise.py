"""Correlated noise: repeated draws repeat, variances are those of the matrices, and sums cancel as they should."""

import numpy as np
import pytest

from privacy.accounting.correlated_noise import compute_prefix_error, compute_tree_error
from privacy.mechanisms.correlated_noise import BandedNoise, TreeNoise, list_nodes

KEY, STEPS, LENGTH = b"a key of 32 bytes, for tests now", 12, 5_000


@pytest.mark.parametrize("step", range(1, 40))
def test_nodes_cover_the_prefix_once(step: int) -> None:
    nodes = list_nodes(step)
    assert [place for first, last in nodes for place in range(first, last + 1)] == list(range(1, step + 1))
    assert len(nodes) == step.bit_count()


def test_tree_repeats_its_noise_and_has_its_variance() -> None:
    tree = TreeNoise(KEY, LENGTH, 0.5)
    np.testing.assert_array_equal(tree.draw_prefix(7), TreeNoise(KEY, LENGTH, 0.5).draw_prefix(7))
    for step in (1, 7, 8):
        assert tree.draw_prefix(step).std() == pytest.approx(0.5 * step.bit_count() ** 0.5, rel=0.05)
    together = sum(tree.draw_step(step) for step in range(1, STEPS + 1))
    np.testing.assert_allclose(together, tree.draw_prefix(STEPS), atol=1e-12)
    squares = [float((tree.draw_prefix(step) ** 2).mean()) for step in range(1, STEPS + 1)]
    assert np.sqrt(np.mean(squares)) == pytest.approx(0.5 * compute_tree_error(STEPS), rel=0.05)


@pytest.mark.parametrize("bands", [1, 3, 12])
def test_banded_noise_has_the_prefix_error_of_its_matrices(bands: int) -> None:
    noise = BandedNoise(KEY, LENGTH, 0.5, bands)
    drawn = np.cumsum([noise.draw_step() for _ in range(STEPS)], axis=0)
    assert np.sqrt((drawn**2).mean()) == pytest.approx(0.5 * compute_prefix_error(bands, STEPS), rel=0.05)


def test_nodes_and_steps_do_not_share_noise() -> None:
    tree = TreeNoise(KEY, LENGTH, 1.0)
    assert abs(np.corrcoef(tree.draw_prefix(1), tree.draw_prefix(2))[0, 1]) < 0.06
    noise = BandedNoise(KEY, LENGTH, 1.0, 1)
    assert abs(np.corrcoef(noise.draw_step(), noise.draw_step())[0, 1]) < 0.06
    assert not np.array_equal(TreeNoise(bytes(32), 4, 1.0).draw_prefix(1), TreeNoise(KEY, 4, 1.0).draw_prefix(1))
