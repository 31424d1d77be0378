"""A key is drawn as SEAL draws it, its coefficients are read right, and nothing but a ternary polynomial is loaded."""

import numpy as np
import pytest

from privacy.errors import SealingError
from privacy.secure_aggregation.schemes.bfv import expand_seed
from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS as Q
from privacy.secure_aggregation.schemes.bfv_parameters import RING_DEGREE as N
from privacy.secure_aggregation.schemes.coefficients import Polynomial
from privacy.secure_aggregation.schemes.ring import RingSecret
from tests.privacy.secure_aggregation.schemes.test_ring_product import multiply_as_integers


def find_root_of_seal() -> int:
    """The smallest primitive 2N-th root of unity modulo q, with which SEAL transforms."""
    generator = next(g for g in range(2, 100) if pow(g, (Q - 1) // 2, Q) == Q - 1)
    root = pow(generator, (Q - 1) // (2 * N), Q)
    return min(pow(root, power, Q) for power in range(1, 2 * N, 2))


def transform_as_seal(coefficients: list[int]) -> Polynomial:
    """The values at the odd powers of the root, in the order of bits reversed; written out, N values at N points."""
    root, places = find_root_of_seal(), N.bit_length() - 1
    powers = [pow(root, power, Q) for power in range(2 * N)]
    values = np.empty(N, dtype=np.uint64)
    used = [(place, value) for place, value in enumerate(coefficients) if value]
    for point in range(N):
        power = 2 * int(f"{point:0{places}b}"[::-1], 2) + 1
        values[point] = sum(value * powers[place * power % (2 * N)] for place, value in used) % Q
    return values


def test_secret_is_ternary_and_each_value_is_as_likely() -> None:
    coefficients = RingSecret.generate().coefficients
    counts = [int(np.sum(coefficients == value)) for value in (-1, 0, 1)]
    assert sum(counts) == N
    assert min(counts) > N / 3 - 6 * (N * 2 / 9) ** 0.5  # each a third: six standard deviations


@pytest.mark.parametrize("chosen", [{0: 1}, {N - 1: -1}, {0: -1, 1: 1, 2: -1, 1000: 1, N - 2: 1}])
def test_coefficients_are_those_that_seal_transformed(chosen: dict[int, int]) -> None:
    coefficients = [chosen.get(place, 0) for place in range(N)]
    assert RingSecret.load(transform_as_seal(coefficients)).coefficients.tolist() == coefficients


def test_secret_survives_being_loaded() -> None:
    secret = RingSecret.generate()
    again = RingSecret.load(secret.transformed)
    assert np.array_equal(again.coefficients, secret.coefficients)
    assert np.array_equal(again.transformed, secret.transformed)


def test_product_of_seal_is_that_of_integers_but_for_its_rounding() -> None:
    secret, factor = RingSecret.generate(), expand_seed(bytes(range(32)))
    wanted = multiply_as_integers(factor.tolist(), secret.coefficients.tolist())
    assert secret.multiply(factor).tolist() == [value % Q - (value % Q > Q // 2) for value in wanted]


@pytest.mark.parametrize(
    "transformed",
    [expand_seed(bytes(32)), np.full(N, 2, dtype=np.uint64), np.full(N, Q - 2, dtype=np.uint64)],
    ids=["random", "two", "minus two"],
)
def test_secret_that_is_not_ternary_is_refused(transformed: Polynomial) -> None:
    with pytest.raises(SealingError, match="a coefficient is none of -1, 0 and 1"):
        RingSecret.load(transformed)
