"""Rounding is unbiased, in range, and comes back as the sum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import TrainingError
from privacy.sealing.quantise import Grid, dequantise, quantise
from privacy.stream import Stream


def test_quantise_rounds_without_bias() -> None:
    """4-sigma test per value: 200 values, 20,000 roundings each, fixed keystream."""
    grid, repeats = Grid(1.0, 8), 20_000
    values = np.random.default_rng(7).uniform(-1, 1, 200)
    integers = quantise(np.tile(values, repeats), grid, Stream(bytes(32))).integers.reshape(repeats, -1)
    mean = (integers.astype(np.float64).mean(axis=0) - grid.zero) * grid.step
    fraction = (values / grid.step) % 1
    deviation = grid.step * np.sqrt(fraction * (1 - fraction) / repeats)
    assert np.all(np.abs(mean - values) <= 4 * deviation + 1e-12)


@given(st.lists(st.floats(-1e6, 1e6), max_size=50), st.integers(8, 24), st.floats(1e-6, 1e6))
def test_quantise_of_any_value_is_within_one_step_of_the_clipped_value(
    values: list[float], bits: int, value_range: float
) -> None:
    update, grid = np.array(values, dtype=np.float64), Grid(value_range, bits)
    quantised = quantise(update, grid, Stream(bytes(32)))
    clipped = np.clip(update, -value_range, value_range)
    back = dequantise(quantised.integers.astype(np.int64), 1, grid)
    assert quantised.integers.dtype == np.uint32
    assert np.all(quantised.integers < 1 << bits)
    assert np.all(np.abs(back - clipped) <= grid.step * (1 + 1e-6))
    assert quantised.saturated == sum(abs(value) > value_range for value in values)


def test_quantise_of_zero_and_of_the_ends_is_exact() -> None:
    grid = Grid(0.3, 16)
    quantised = quantise(np.array([0.0, 0.3, -0.3, 5.0, -5.0]), grid, Stream(bytes(32)))
    assert quantised.integers.tolist() == [32768, 65535, 1, 65535, 1]
    assert quantised.saturated == 2


def test_dequantise_of_a_sum_is_the_sum_of_the_updates() -> None:
    grid, generator, total, plain = (
        Grid(2.0, 24),
        np.random.default_rng(3),
        np.zeros(1000, np.int64),
        np.zeros(1000),
    )
    for site in range(5):
        update = generator.normal(0, 0.3, 1000)
        total += quantise(update, grid, Stream(bytes([site] * 32))).integers
        plain += update
    assert np.max(np.abs(dequantise(total, 5, grid) - plain)) <= 5 * grid.step


def test_dequantise_gives_the_same_bits_as_one_value_at_a_time() -> None:
    grid = Grid(0.7, 16)
    total = np.random.default_rng(5).integers(0, 5 * 65535, 1000)
    assert dequantise(total, 5, grid).tolist() == [(int(t) - 5 * 32768) * (0.7 / 32767) for t in total]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_quantise_of_a_diverged_update_is_refused(value: float) -> None:
    with pytest.raises(TrainingError, match="not finite"):
        quantise(np.array([0.0, value]), Grid(1.0, 16), Stream(bytes(32)))
