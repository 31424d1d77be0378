"""Correlated noise: repeated draws repeat, variances are those of the matrices, and sums cancel as they should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privacy.accounting.correlated_noise import compute_prefix_error, compute_tree_error, make_band
from privacy.mechanisms.correlated_noise import BandedNoise, TreeNoise, TreesInTurn, list_nodes

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


def make_covariance(bands: int, steps: int) -> np.ndarray:
    """That of C^-1 z, from the matrix itself."""
    strategy = sum(
        (each * np.eye(steps, k=-offset) for offset, each in enumerate(make_band(bands))), np.zeros((steps, steps))
    )
    inverse = np.linalg.inv(strategy)
    return inverse @ inverse.T


def make_tree_covariance(leaves: int, passes: int) -> np.ndarray:
    """Of each step's change of the noise of its prefix, where a node has noise 1; trees are independent."""
    nodes = sorted({node for step in range(1, leaves + 1) for node in list_nodes(step)})
    reads = np.array([[node in list_nodes(step) for node in nodes] for step in range(1, leaves + 1)], dtype=float)
    changes = np.diff(reads, axis=0, prepend=0.0)
    return np.kron(np.eye(passes), changes @ changes.T)


@pytest.mark.parametrize(
    ("noise", "covariance"),
    [
        (BandedNoise(KEY, 40_000, 0.5, 4), make_covariance(4, 12)),
        (BandedNoise(KEY, 40_000, 0.5, 12), make_covariance(12, 12)),
        (TreesInTurn(KEY, 40_000, 0.5, 6), make_tree_covariance(6, 2)),
    ],
    ids=["4 bands", "12 bands", "trees"],
)
def test_covariance_of_the_drawn_noise_is_that_of_the_matrix(
    noise: BandedNoise | TreesInTurn, covariance: np.ndarray
) -> None:
    """Chi-square over 40,000 draws of 12 steps: whitened by the matrix, squares add up to as many as there are.

    The chance to fail is 1e-6; noise that is repeated, or of another deviation, is beyond it by far.
    """
    drawn = np.stack([noise.draw_step() for _ in range(12)])
    white = np.linalg.solve(np.linalg.cholesky(0.25 * covariance), drawn)
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], white.size)
    assert low < float(np.square(white).sum()) < high
    # and no two steps are correlated once whitened: each correlation is normal, with variance 1 / 40,000
    correlation = np.corrcoef(white) - np.eye(12)
    assert np.abs(correlation).max() < 6 / np.sqrt(40_000)


def test_key_that_two_parts_share_is_seen_in_their_covariance() -> None:
    """A planted fault: the second part repeats the independent noise of the first, and whitened steps are equal."""
    first = BandedNoise(KEY, 1000, 1.0, 3)
    drawn = [first.draw_step() for _ in range(4)]
    second = BandedNoise(KEY, 1000, 1.0, 3, first.stack_past())
    drawn += [second.draw_step() for _ in range(4)]
    white = np.linalg.solve(np.linalg.cholesky(make_covariance(3, 8)), np.stack(drawn))
    assert np.max(np.corrcoef(white) - np.eye(8)) > 0.99


@given(st.integers(2, 6), st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_divided_run_is_one_run(bands: int, parts: list[int]) -> None:
    """Each part has a key of its own, and carries on; C applied to all of it gives the independent noise again."""
    past, drawn, fresh = None, [np.empty((0, 3))], [np.empty((0, 3))]
    for number, steps in enumerate(parts):
        key = bytes([number]) * 32
        noise = BandedNoise(key, 3, 0.5, bands, past)
        drawn.append(np.array([noise.draw_step() for _ in range(steps)]).reshape(-1, 3))
        alone = BandedNoise(key, 3, 0.5, 1)
        fresh.append(np.array([alone.draw_step() for _ in range(steps)]).reshape(-1, 3))
        past = noise.stack_past()
    together, steps = np.concatenate(drawn), sum(parts)
    strategy = sum(
        (each * np.eye(steps, k=-offset) for offset, each in enumerate(make_band(bands))), np.zeros((steps, steps))
    )
    np.testing.assert_allclose(strategy @ together, np.concatenate(fresh), atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 5), (3, 4), (3,)])
def test_past_noise_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected past noise of shape \(3, 5\), for 4 bands, got"):
        BandedNoise(KEY, 5, 1.0, 4, np.zeros(shape))


def test_trees_in_turn_are_trees_of_their_own() -> None:
    turn = TreesInTurn(KEY, 4, 1.0, 3)
    drawn = np.array([turn.draw_step() for _ in range(6)])
    assert not np.isclose(drawn[:3], drawn[3:]).any()
    again = TreesInTurn(KEY, 4, 1.0, 3)
    np.testing.assert_array_equal(drawn, [again.draw_step() for _ in range(6)])
