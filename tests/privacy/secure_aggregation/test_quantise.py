"""Rounding is unbiased, in range, and comes back as the sum; its errors do not add up, its scale follows the sums."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import TrainingError
from privacy.randomness import KeyStream
from privacy.secure_aggregation.quantise import MOST_HALVINGS, Grid, compute_next_halvings, dequantise, quantise


def test_quantise_rounds_without_bias() -> None:
    """4-sigma test per value: 200 values, 20,000 roundings each, fixed keystream."""
    grid, repeats = Grid(1.0, 8), 20_000
    values = np.random.default_rng(7).uniform(-1, 1, 200)
    integers = quantise(np.tile(values, repeats), grid, KeyStream(bytes(32))).integers.reshape(repeats, -1)
    mean = (integers.astype(np.float64).mean(axis=0) - grid.zero) * grid.step
    fraction = (values / grid.step) % 1
    deviation = grid.step * np.sqrt(fraction * (1 - fraction) / repeats)
    assert np.all(np.abs(mean - values) <= 4 * deviation + 1e-12)


@given(st.lists(st.floats(-1e6, 1e6), max_size=50), st.integers(8, 24), st.floats(1e-6, 1e6))
def test_quantise_of_any_value_is_within_one_step_of_the_clipped_value(
    values: list[float], bits: int, value_range: float
) -> None:
    update, grid = np.array(values, dtype=np.float64), Grid(value_range, bits)
    clipped = np.clip(update, -value_range, value_range)
    quantised = quantise(update, grid, KeyStream(bytes(32)))
    back = dequantise(quantised.integers.astype(np.int64), 1, grid)
    assert quantised.integers.dtype == np.uint32
    assert np.all(quantised.integers < 1 << bits)
    assert np.all(np.abs(back - clipped) <= grid.step * (1 + 1e-6))
    assert quantised.saturated == sum(abs(value) > value_range for value in values)


def test_quantise_of_zero_and_of_the_ends_is_exact() -> None:
    grid = Grid(0.3, 16)
    quantised = quantise(np.array([0.0, 0.3, -0.3, 5.0, -5.0]), grid, KeyStream(bytes(32)))
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
        plain += update
        total += quantise(update, grid, KeyStream(bytes([site] * 32))).integers
    assert np.max(np.abs(dequantise(total, 5, grid) - plain)) <= 5 * grid.step


def test_dequantise_gives_the_same_bits_as_one_value_at_a_time() -> None:
    grid = Grid(0.7, 16)
    total = np.random.default_rng(5).integers(0, 5 * 65535, 1000)
    assert dequantise(total, 5, grid).tolist() == [(int(t) - 5 * 32768) * (0.7 / 32767) for t in total]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_quantise_of_a_diverged_update_is_refused(value: float) -> None:
    with pytest.raises(TrainingError, match="not finite"):
        quantise(np.array([0.0, value]), Grid(1.0, 16), KeyStream(bytes(32)))


@given(st.lists(st.floats(-1e3, 1e3), max_size=50), st.integers(8, 24), st.floats(1e-3, 1e3))
def test_integers_and_what_is_left_add_up_to_the_update(values: list[float], bits: int, value_range: float) -> None:
    update, grid = np.array(values, dtype=np.float64), Grid(value_range, bits)
    left = update.copy()
    quantised = quantise(left, grid, KeyStream(bytes(32)))
    back = dequantise(quantised.integers.astype(np.int64), 1, grid)
    np.testing.assert_allclose(back + left, update, rtol=1e-12, atol=1e-12 * value_range)
    inside = np.abs(update) <= value_range
    assert np.all(np.abs(left[inside]) <= grid.step * (1 + 1e-6))
    beyond = np.abs(update[~inside]) - value_range
    np.testing.assert_allclose(np.abs(left[~inside]), beyond, atol=1e-9 * value_range)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_error_feedback_keeps_the_sum_of_many_rounds_within_one_step(bits: int) -> None:
    """Without it errors of 200 rounds would add up like a random walk: to 8 steps and more among 500 values."""
    grid, generator = Grid(1.0, bits), np.random.default_rng(bits)
    plain, sealed, without = np.zeros(500), np.zeros(500), np.zeros(500)
    left = np.zeros(500)
    for number in range(200):
        update = generator.uniform(-0.5, 0.5, 500)
        plain += update
        without += dequantise(
            quantise(update.copy(), grid, KeyStream(number.to_bytes(32, "big"))).integers.astype(np.int64), 1, grid
        )
        left += update
        quantised = quantise(left, grid, KeyStream((1000 + number).to_bytes(32, "big")))
        sealed += dequantise(quantised.integers.astype(np.int64), 1, grid)
        assert quantised.saturated == 0
    assert np.abs(sealed - plain).max() <= grid.step * (1 + 1e-6)
    assert np.abs(without - plain).max() > 8 * grid.step


def test_error_feedback_sends_what_saturation_cut_in_later_rounds() -> None:
    grid, left, sent = Grid(1.0, 16), np.array([3.5, -2.0, 0.25]), np.zeros(3)
    for number in range(5):
        quantised = quantise(left, grid, KeyStream(bytes([number] * 32)))
        sent += dequantise(quantised.integers.astype(np.int64), 1, grid)
    np.testing.assert_allclose(sent, [3.5, -2.0, 0.25], atol=grid.step)


def total_of(largest: int, sites: int, grid: Grid) -> list[int]:
    """A sum of ``sites`` sites whose largest value is so many steps."""
    return [sites * grid.zero + step for step in (0, largest, -(largest // 2))]


@pytest.mark.parametrize(
    ("largest", "finer"), [(0, 8), (1, 5), (63, 0), (64, -1), (127, -1), (128, -2), (254, -2), (255, -3), (508, -3)]
)
def test_halvings_after_follow_the_largest_value_of_the_sum(largest: int, finer: int) -> None:
    """By hand: 4 sites of 127 steps have room for 508; needed is 4 times the largest times sqrt(4), so 8 times."""
    grid = Grid(1.0, 8)
    assert compute_next_halvings(np.array(total_of(largest, 4, grid)), 4, grid, 10) == 10 + finer


def test_halvings_after_a_negative_extreme_are_those_of_its_size() -> None:
    grid = Grid(1.0, 8)
    assert compute_next_halvings(np.array([4 * 128 - 64, 4 * 128 + 3]), 4, grid, 10) == 9


@given(st.integers(8, 24), st.integers(3, 64), st.integers(0, MOST_HALVINGS), st.data())
def test_halvings_after_any_sum_are_the_most_that_leave_room(
    bits: int, sites: int, halvings: int, data: st.DataObject
) -> None:
    """The oracle: exact fractions, halved and doubled until it fits."""
    grid = Grid(1.0, bits)
    largest = data.draw(st.integers(0, sites * grid.steps))
    root = Fraction(int((4 * sites) ** 0.5), 2)  # the square root of the number of sites, to a half, rounded down
    needed, room, expected = max(Fraction(int(4 * largest * root)), Fraction(1)), Fraction(sites * grid.steps), 0
    while room / 2 >= needed:
        room, expected = room / 2, expected + 1
    while room < needed:
        room, expected = room * 2, expected - 1
    found = compute_next_halvings(np.array(total_of(largest, sites, grid)), sites, grid, halvings)
    assert found == min(max(halvings + expected, 0), MOST_HALVINGS)


def test_halvings_after_larger_sums_are_never_more() -> None:
    grid = Grid(1.0, 12)
    found = [
        compute_next_halvings(np.array(total_of(size, 5, grid)), 5, grid, 7) for size in range(5 * grid.steps + 1)
    ]
    assert found == sorted(found, reverse=True)


def test_halvings_after_stay_between_the_terms_range_and_the_smallest() -> None:
    grid = Grid(1.0, 16)
    assert compute_next_halvings(np.array(total_of(3 * grid.steps, 3, grid)), 3, grid, 0) == 0
    assert compute_next_halvings(np.array(total_of(0, 3, grid)), 3, grid, MOST_HALVINGS - 1) == MOST_HALVINGS
    assert compute_next_halvings(np.array([], dtype=np.int64), 3, grid, 5) == 5


def test_halved_grid_has_the_same_integers_and_finer_steps() -> None:
    grid = Grid(3.0, 16)
    assert grid.halve(0) == grid
    assert (grid.halve(3).value_range, grid.halve(3).step) == (0.375, grid.step / 8)
    assert (grid.halve(3).zero, grid.halve(3).steps) == (grid.zero, grid.steps)


@pytest.mark.parametrize("alike", [False, True], ids=["noise", "the same everywhere"])
@pytest.mark.parametrize("size", [1e-5, 1e-3, 0.05])
@pytest.mark.parametrize("sites", [3, 16, 64])
def test_scale_that_followed_the_sums_does_not_saturate_the_next_updates(
    sites: int, size: float, alike: bool
) -> None:
    """Ten rounds of normal updates with a range of 1 in the terms: the range shrinks to them, and nothing is cut."""
    terms, halvings, generator = Grid(1.0, 16), 0, np.random.default_rng(sites)
    for number in range(10):
        grid, total = terms.halve(halvings), np.zeros(2000, dtype=np.int64)
        common = generator.normal(0, size, 2000)
        for site in range(sites):
            update = common.copy() if alike else generator.normal(0, size, 2000)
            quantised = quantise(update, grid, KeyStream((100 * number + site).to_bytes(32, "big")))
            assert quantised.saturated == 0
            total += quantised.integers
        halvings = compute_next_halvings(total, sites, grid, halvings)
    largest = 4 * size  # of 2000 normal values, about
    assert largest < terms.halve(halvings).value_range <= max(2 * 4 * sites**0.5 * largest, 2 / 2**MOST_HALVINGS)


def test_scale_grows_again_when_updates_do() -> None:
    """A sum at the edge of its range makes the next range at least four times as large."""
    grid = Grid(1.0, 16)
    assert compute_next_halvings(np.array(total_of(3 * grid.steps, 3, grid)), 3, grid, 12) <= 12 - 2
