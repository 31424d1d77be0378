"""Batches of quantised gradients: what decodes is the integer sum, where it stops being it, and alpha."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from privacy.randomness import KeyStream, from_os
from privacy.secure_aggregation.schemes.batchcrypt import (
    Batching,
    Shape,
    compute_clipping,
    compute_coefficient,
    decode,
    encode,
    estimate_deviation,
    quantise,
    restore,
)
from privacy.secure_aggregation.schemes.paillier import PaillierKey

KEY = PaillierKey.draw(KeyStream(b"b" * 32), 512)


def add(vectors: list[list[int]], batching: Batching) -> list[int]:
    """The sum of packed vectors as any additive encryption makes it."""
    return [sum(column) for column in zip(*(encode(vector, batching) for vector in vectors), strict=True)]


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(3, 20), st.integers(1, 16), st.integers(0, 30))
def test_decoded_sum_is_the_integer_sum(data: st.DataObject, bits: int, sites: int, count: int) -> None:
    batching = Batching(bits, sites, 200)
    share = batching.largest // sites
    vectors = [
        data.draw(st.lists(st.integers(-share, share), min_size=count, max_size=count)) for _ in range(sites)
    ]
    plain = [sum(column) for column in zip(*vectors, strict=True)]
    assert decode(add(vectors, batching), count, batching).tolist() == plain


def test_two_values_of_any_signs_add_or_saturate() -> None:
    batching = Batching(4, 2, 100)
    for one, other in product(range(-7, 8), repeat=2):
        neighbours = [[one, -7, one], [other, -7, -other]]  # between two others, one of which saturates
        read = decode(add(neighbours, batching), 3, batching).tolist()
        assert read == [max(-7, min(7, one + other)), -7, max(-7, min(7, one - other))]


def test_four_largest_values_read_as_minus_four() -> None:
    """The trap: the sign bits see one bit of overflow. The slot is that of -4 and three zeros, so nobody can tell."""
    batching = Batching(8, 4, 100)
    largest = add([[127]] * 4, batching)
    assert decode(largest, 1, batching).tolist() == [-4]
    assert largest == add([[-4], [0], [0], [0]], batching)


@pytest.mark.parametrize("sites", [2, 4, 8])
def test_slots_never_bleed_up_to_2_to_the_padding_and_do_beyond(sites: int) -> None:
    """-1 fills a value's bits with ones: of all vectors this one carries most."""
    batching = Batching(8, sites, 60)
    clean = add([[-1, 0]] * sites, batching)
    assert decode(clean, 2, batching).tolist() == [-sites, 0]
    assert decode(add([[-1, 0]] * (sites + 1), batching), 2, batching).tolist() != [-sites - 1, 0]


def test_about_a_hundred_values_fill_a_plaintext_of_2048_bits() -> None:
    assert Batching(16, 8, 2047).per_plaintext == 102
    assert Batching(16, 8, 2047).count_plaintexts(1021) == 11


def test_encrypted_average_is_the_average_of_cut_values_but_for_rounding() -> None:
    batching, stream = Batching(16, 3, 511), from_os()
    updates = np.random.default_rng(1).normal(size=(3, 50))
    alpha = compute_clipping(updates.min(), updates.max(), updates.size, 16)
    vectors = [quantise(update, alpha, batching, stream).tolist() for update in updates]
    columns = zip(
        *([KEY.encrypt(number) for number in encode(vector, batching)] for vector in vectors), strict=True
    )
    opened = [KEY.decrypt(KEY.public.add(column)) for column in columns]
    mean = restore(decode(opened, 50, batching), alpha, batching) / 3
    assert np.abs(mean - updates.mean(axis=0)).max() < alpha * 3 / batching.largest


def test_rounding_is_right_on_average_and_cuts_at_alpha() -> None:
    batching, value = Batching(8, 4), 0.0123
    drawn = quantise(np.full(200_000, value), 1.0, batching, from_os())
    step = 4 / 127
    assert set(drawn.tolist()) == {0, 1}
    assert np.mean(drawn) * step == pytest.approx(value, abs=5 * step * 0.5 / math.sqrt(200_000))
    assert quantise(np.array([9.0, -9.0, 0.0]), 1.0, Batching(8, 1), from_os()).tolist() == [127, -127, 0]


@pytest.mark.parametrize(
    ("bits", "shape", "published"),
    [
        (8, Shape.GAUSSIAN, 3.77355),
        (16, Shape.GAUSSIAN, 5.82964),
        (8, Shape.LAPLACE, 9.27621),
        (16, Shape.LAPLACE, 19.61016),
    ],
)
def test_coefficients_are_the_published_ones(bits: int, shape: Shape, published: float) -> None:
    """The table of the authors' code, which is 0.0002 from the minimum in its second entry."""
    wrong = 2.5e-4 if published == 5.82964 else 1e-5
    assert compute_coefficient(bits, shape) == pytest.approx(published, abs=wrong)


@pytest.mark.parametrize("shape", Shape)
def test_coefficient_is_where_the_integrated_error_is_least(shape: Shape) -> None:
    """The oracle: the squared error beyond alpha by quadrature, plus that of rounding, by a search."""

    def density(x: float) -> float:
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi) if shape is Shape.GAUSSIAN else math.exp(-x) / 2

    def error(alpha: float) -> float:
        clipping = 2 * float(quad(lambda x: (x - alpha) ** 2 * density(x), alpha, alpha + 30)[0])
        return clipping + 2 * alpha**2 * (2**8 - 2) / (3 * 2**24)

    least = minimize_scalar(error, bounds=(1, 20), method="bounded", options={"xatol": 1e-6}).x
    assert compute_coefficient(8, shape) == pytest.approx(least, abs=1e-3)


def test_deviation_of_gaussian_values_follows_from_their_range() -> None:
    drawn = np.random.default_rng(4).normal(scale=0.3, size=(50, 20_000))
    estimates = [estimate_deviation(row.min(), row.max(), row.size) for row in drawn]
    assert np.mean(estimates) == pytest.approx(0.3, rel=0.1)
    factor = 0.175 * (1 + math.sqrt(math.pi * math.log(4)))
    assert estimate_deviation(-1, 2, 100) == pytest.approx(3 * factor / math.sqrt(2 * math.log(100)))


@pytest.mark.parametrize(("low", "high", "count"), [(0, 0, 10), (1, 0, 10), (0, 1, 1)])
def test_layer_without_a_range_has_no_alpha(low: float, high: float, count: int) -> None:
    with pytest.raises(ValueError, match="not all equal"):
        compute_clipping(low, high, count, 8)


def test_what_cannot_be_packed_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 8 bits"):
        encode([128], Batching(8, 2))
    with pytest.raises(ValueError, match="positive alpha and finite"):
        quantise(np.array([np.nan]), 1.0, Batching(), from_os())
    with pytest.raises(ValueError, match="room for a slot"):
        Batching(16, 8, 19)
