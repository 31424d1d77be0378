"""Products with a ternary polynomial are exact, whatever the other factor; the oracle is a product of huge integers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.secure_aggregation.schemes.bfv import expand_seed
from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS as Q
from privacy.secure_aggregation.schemes.bfv_parameters import RING_DEGREE as N
from privacy.secure_aggregation.schemes.coefficients import Polynomial
from privacy.secure_aggregation.schemes.ring_product import LARGEST_IN_SPECTRUM, Ternary, TernaryFactor

ZERO = np.zeros((1, N), dtype=np.int64)
LARGEST = 2**54 - 1


def multiply_as_integers(a: list[int], b: list[int]) -> list[int]:
    """The product modulo X^N + 1 and q, by one product of huge integers (Kronecker)."""
    width = 16  # bytes: 2 * 54 + 12 bits fit 128
    one, other = (
        int.from_bytes(b"".join((x % Q).to_bytes(width, "little") for x in each), "little") for each in (a, b)
    )
    raw = (one * other).to_bytes(2 * N * width, "little")
    whole = [int.from_bytes(raw[i * width : (i + 1) * width], "little") for i in range(2 * N)]
    return [(whole[i] - whole[i + N]) % Q for i in range(N)]


def draw_ternary(seed: int) -> Ternary:
    return np.random.default_rng(seed).integers(-1, 2, N).astype(np.int8)


def require_exact(ternary: Ternary, factor: Polynomial) -> None:
    found = TernaryFactor(ternary).multiply_and_add(factor[None], ZERO)[0]
    assert found.tolist() == multiply_as_integers(factor.tolist(), ternary.tolist())


def compute_spectrum(ternary: Ternary) -> NDArray[np.float64]:
    """The absolute values at the odd powers of exp(i pi / N), (N,); from a transform of twice the length."""
    sizes: NDArray[np.float64] = np.abs(np.fft.fft(ternary, 2 * N))[1::2]
    return sizes


def make_wave(power: int, turn: float) -> NDArray[np.float64]:
    return np.cos(np.pi * power * np.arange(N) / N + turn)


def meet(wave: NDArray[np.float64]) -> Polynomial:
    """The factor with the largest numbers that there are, all of it in one wave."""
    return np.where(wave > 0, np.uint64(LARGEST), np.uint64(0))


@pytest.mark.parametrize(
    "factor",
    [
        expand_seed(bytes(32)),
        np.full(N, Q - 1, dtype=np.uint64),
        np.full(N, LARGEST, dtype=np.uint64),
        np.full(N, Q // 2, dtype=np.uint64),
        np.eye(1, N, N - 1, dtype=np.uint64)[0],
        np.zeros(N, dtype=np.uint64),
    ],
    ids=["uniform", "largest", "all bits", "half", "last", "zero"],
)
def test_product_is_exact(factor: Polynomial) -> None:
    require_exact(draw_ternary(1), factor)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, LARGEST), min_size=1, max_size=4))
@settings(max_examples=15)
def test_product_of_any_polynomial_is_exact(seed: int, chosen: list[int]) -> None:
    rng = np.random.default_rng(seed)
    require_exact(draw_ternary(seed), rng.choice(np.array(chosen, dtype=np.uint64), N))


def test_product_of_the_factor_that_meets_the_keys_largest_wave_is_exact() -> None:
    ternary = draw_ternary(2)
    power = 2 * int(np.argmax(compute_spectrum(ternary))) + 1
    for turn in np.arange(4) * np.pi / 8:
        require_exact(ternary, meet(make_wave(power, turn)))


def test_key_that_nobody_drew_is_exact_up_to_the_bound_and_refused_beyond() -> None:
    """As large a spectrum as is taken, and the factor that meets it."""
    wave = make_wave(1001, 0)
    taken, refused = ((np.sign(wave) * (np.abs(wave) > cut)).astype(np.int8) for cut in (0.924, 0.9))
    assert 0.95 * LARGEST_IN_SPECTRUM < compute_spectrum(taken).max() < LARGEST_IN_SPECTRUM
    assert compute_spectrum(refused).max() > LARGEST_IN_SPECTRUM
    require_exact(taken, meet(wave))
    with pytest.raises(SealingError, match="the study key is refused: its coefficients are not random"):
        TernaryFactor(refused)


def test_bound_of_the_error_that_the_docstring_states() -> None:
    """Summed as it is there; u is half the distance of two floats at 1."""
    unit, norm = 2.0**-53, 2.0**27 * math.sqrt(N)
    twiddle, butterfly = unit, 4 * unit / (1 - 4 * unit)
    transform = 11 * (twiddle + butterfly * (math.sqrt(2) + twiddle)) * 1.01
    assert transform < 75 * unit
    turn = 7 * unit  # a root of unity, and a complex product
    spectrum = (transform + turn) * math.sqrt(N / 2) * math.sqrt(N) / LARGEST_IN_SPECTRUM + 3 * unit
    relative = 2 * transform + 2 * turn + spectrum
    assert relative < 400 * unit
    assert 400 * unit * norm * LARGEST_IN_SPECTRUM < 0.4


def test_addends_are_added_to_each_product() -> None:
    ternary, factors = draw_ternary(3), np.stack([expand_seed(bytes([number]) * 32) for number in range(3)])
    ends = [-(2**50), 0, Q - 1, Q + 2**50 - 1]
    addends = np.random.default_rng(4).choice(np.array(ends), (3, N))
    found = TernaryFactor(ternary).multiply_and_add(factors, addends)
    for factor, addend, given_back in zip(factors, addends, found, strict=True):
        product = multiply_as_integers(factor.tolist(), ternary.tolist())
        assert given_back.tolist() == [(one + int(other)) % Q for one, other in zip(product, addend, strict=True)]
