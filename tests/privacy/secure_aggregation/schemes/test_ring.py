"""The product with a key is exact: the oracle is a product of huge integers."""

import numpy as np
import pytest

from privacy.secure_aggregation.schemes.bfv import expand_seed
from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS as Q
from privacy.secure_aggregation.schemes.bfv_parameters import RING_DEGREE as N
from privacy.secure_aggregation.schemes.coefficients import Polynomial
from privacy.secure_aggregation.schemes.ring import RingSecret

ZERO = np.zeros(N, dtype=np.uint64)
ONE = np.eye(1, N, dtype=np.uint64)[0]


def multiply_as_integers(a: list[int], b: list[int]) -> list[int]:
    """The product modulo X^N + 1 and q, by one product of huge integers (Kronecker)."""
    width = 16  # bytes: 2 * 54 + 12 bits fit 128
    one, other = (int.from_bytes(b"".join(x.to_bytes(width, "little") for x in each), "little") for each in (a, b))
    raw = (one * other).to_bytes(2 * N * width, "little")
    whole = [int.from_bytes(raw[i * width : (i + 1) * width], "little") for i in range(2 * N)]
    return [(whole[i] - whole[i + N]) % Q for i in range(N)]


def read_secret(secret: RingSecret) -> list[int]:
    """The key's coefficients: its product with 1."""
    return [int(value) for value in secret.multiply_and_add(ONE, ZERO)]


def test_secret_is_ternary() -> None:
    coefficients = read_secret(RingSecret.generate())
    counts = [coefficients.count(value) for value in (0, 1, Q - 1)]
    assert sum(counts) == N
    assert min(counts) > N / 3 - 6 * (N * 2 / 9) ** 0.5  # each a third: six standard deviations


@pytest.mark.parametrize(
    "factor",
    [
        expand_seed(bytes(32)),
        np.full(N, Q - 1, dtype=np.uint64),
        np.full(N, Q // 2, dtype=np.uint64),
        np.eye(1, N, N - 1, dtype=np.uint64)[0],
        ZERO,
    ],
    ids=["uniform", "largest", "half", "last", "zero"],
)
def test_product_and_sum_are_exact(factor: Polynomial) -> None:
    secret, addend = RingSecret.generate(), expand_seed(bytes([1]) * 32)
    product = multiply_as_integers(factor.tolist(), read_secret(secret))
    found = secret.multiply_and_add(factor, addend).tolist()
    assert found == [(one + int(other)) % Q for one, other in zip(product, addend, strict=True)]


def test_all_residues_are_told_apart_but_one() -> None:
    """The lower half, the upper half, and the one in the middle that is one too small."""
    secret, values = RingSecret.generate(), ZERO.copy()
    values[:8] = [0, 1, Q // 2 - 1, Q // 2, Q // 2 + 1, Q // 2 + 2, Q - 2, Q - 1]
    found = secret.multiply_and_add(ZERO, values)
    values[4] -= 1
    assert found.tolist() == values.tolist()


def test_secret_survives_being_loaded() -> None:
    secret, factor = RingSecret.generate(), expand_seed(bytes(32))
    again = RingSecret.load(secret.transformed)
    assert np.array_equal(again.multiply_and_add(factor, ZERO), secret.multiply_and_add(factor, ZERO))
