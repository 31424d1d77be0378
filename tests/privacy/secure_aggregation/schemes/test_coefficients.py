"""A polynomial is written in exactly 54 bits a coefficient, as the format says, and nothing else is read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import SealingError
from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS, POLYNOMIAL_BYTES, RING_DEGREE
from privacy.secure_aggregation.schemes.coefficients import (
    pack_polynomial,
    require_polynomials,
    unpack_polynomial,
    unpack_polynomials,
)


def require_one(data: bytes, name: str) -> None:
    require_polynomials(np.frombuffer(data, dtype=np.uint8)[None], name)


def write_as_the_page_says(coefficients: list[int]) -> bytes:
    """The oracle: the three planes, coefficient by coefficient, in plain integers."""
    low = b"".join((each & 0xFFFFFFFF).to_bytes(4, "little") for each in coefficients)
    middle = b"".join((each >> 32 & 0xFFFF).to_bytes(2, "little") for each in coefficients)
    fours = [coefficients[at : at + 4] for at in range(0, len(coefficients), 4)]
    high = b"".join(
        sum((each >> 48) << 6 * place for place, each in enumerate(four)).to_bytes(3, "little") for four in fours
    )
    return low + middle + high


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, COEFFICIENT_MODULUS - 1), max_size=8))
@settings(max_examples=30)
def test_polynomial_survives_the_way(seed: int, chosen: list[int]) -> None:
    drawn = np.random.default_rng(seed).integers(0, COEFFICIENT_MODULUS, RING_DEGREE, dtype=np.uint64)
    drawn[: len(chosen)] = chosen
    data = pack_polynomial(drawn)
    assert len(data) == POLYNOMIAL_BYTES == 54 * RING_DEGREE // 8
    assert data == write_as_the_page_says(drawn.tolist())
    assert np.array_equal(unpack_polynomial(data, "update"), drawn)


@given(
    st.binary(min_size=64, max_size=64) | st.just(b"\xff" * POLYNOMIAL_BYTES), st.integers(0, POLYNOMIAL_BYTES - 64)
)
@settings(max_examples=50)
def test_any_bytes_are_a_polynomial_below_the_modulus_or_are_refused(piece: bytes, at: int) -> None:
    data = (bytes(at) + piece)[:POLYNOMIAL_BYTES].ljust(POLYNOMIAL_BYTES, b"\0")
    # the oracle: the planes, read coefficient by coefficient in plain integers
    tops = [int.from_bytes(data[at : at + 3], "little") for at in range(6 * RING_DEGREE, POLYNOMIAL_BYTES, 3)]
    meant = [
        int.from_bytes(data[4 * i : 4 * i + 4], "little")
        | int.from_bytes(data[4 * RING_DEGREE + 2 * i : 4 * RING_DEGREE + 2 * i + 2], "little") << 32
        | (tops[i // 4] >> 6 * (i % 4) & 63) << 48
        for i in range(RING_DEGREE)
    ]
    if max(meant) < COEFFICIENT_MODULUS:
        assert unpack_polynomial(bytes(data), "update").tolist() == meant
        require_one(bytes(data), "update")
    else:
        for read in (unpack_polynomial, require_one):
            with pytest.raises(SealingError, match="the update is refused: a coefficient is not below the modulus"):
                read(bytes(data), "update")


@pytest.mark.parametrize("place", [0, 1, 2, 3, RING_DEGREE - 1])
def test_modulus_itself_is_refused_at_every_place_of_a_group(place: int) -> None:
    coefficients = np.full(RING_DEGREE, COEFFICIENT_MODULUS - 1, dtype=np.uint64)
    unpack_polynomial(pack_polynomial(coefficients), "update")
    coefficients[place] += 1
    for read in (unpack_polynomial, require_one):
        with pytest.raises(SealingError, match="not below the modulus"):
            read(pack_polynomial(coefficients), "update")


@pytest.mark.parametrize("bad", [0, 2, 4])
def test_polynomial_beyond_the_modulus_is_refused_among_others(bad: int) -> None:
    """Also where others look suspicious: their middle planes have ones alone."""
    rows = np.full((5, RING_DEGREE), COEFFICIENT_MODULUS - 1, dtype=np.uint64)
    planes = np.stack([np.frombuffer(pack_polynomial(row), dtype=np.uint8) for row in rows])
    require_polynomials(planes, "update")
    assert np.array_equal(unpack_polynomials(planes, "update"), rows)
    rows[bad, 7] = COEFFICIENT_MODULUS
    planes[bad] = np.frombuffer(pack_polynomial(rows[bad]), dtype=np.uint8)
    for read in (unpack_polynomials, require_polynomials):
        with pytest.raises(SealingError, match="the update is refused: a coefficient is not below the modulus"):
            read(planes, "update")
