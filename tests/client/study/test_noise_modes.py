"""What a site seals with local noise: the weighted update and what earlier rounds left, rounded to the grid."""

import numpy as np
import pytest

from client.study.noise_modes import Residual, round_update
from privacy.randomness import KeyStream
from privacy.secure_aggregation.quantise import Grid

GRID = Grid(1.0, 16)
COUNT = 100_000


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("left", [0.0, np.linspace(-1e-5, 1e-5, COUNT).astype(np.float32)], ids=["none", "some"])
def test_integers_and_residual_add_up_to_the_weighted_update_and_what_was_left(
    writable: bool, left: Residual
) -> None:
    drawn = np.random.default_rng(0).normal(0, 0.1, COUNT)
    update = drawn.copy()
    update.flags.writeable = writable
    rounded = round_update(update, 1 / 3, left, GRID, KeyStream(bytes(32)))
    steps = rounded.quantised.integers.astype(np.float64) - GRID.zero
    assert np.allclose(steps * GRID.step + rounded.residual, drawn / 3 + left, rtol=0, atol=1e-15)
    assert np.abs(rounded.residual).max() <= GRID.step
    assert np.array_equal(update, rounded.residual if writable else drawn)
