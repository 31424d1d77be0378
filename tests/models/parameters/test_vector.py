import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.parameters.vector import add_scaled, compute_vector_digest


def test_digest_is_sha256_of_little_endian_doubles() -> None:
    values = [0.1, -2.5, 3e300]
    expected = hashlib.sha256(b"".join(struct.pack("<d", value) for value in values)).hexdigest()
    assert compute_vector_digest(np.array(values)) == expected


def test_digest_of_a_strided_view_is_that_of_its_values() -> None:
    values = np.arange(10.0)
    assert compute_vector_digest(values[::2]) == compute_vector_digest(values[::2].copy())


def test_advance_golden_bits_stay_the_same() -> None:
    """Origin: the expected digest was computed with Python floats, one multiplication and one addition each."""
    model = np.array([0.1, -1.0 / 3.0, 1e-17, 12345.678])
    update = np.array([0.7, 1.0 / 7.0, 1.0, -1e-9])
    by_hand = np.array([m + 0.3 * u for m, u in zip(model.tolist(), update.tolist(), strict=True)])
    advanced = add_scaled(model, update, 0.3)
    assert advanced.tobytes() == by_hand.tobytes()
    assert compute_vector_digest(advanced) == "e9a19baa6f5f32079485016b8e0837ee8b142ba55182f1d398ebcd932e46875c"


@given(arrays(np.float64, 7, elements=st.floats(-1e6, 1e6)), st.floats(-10, 10))
def test_advance_rounds_after_each_step_as_python_does(update: np.ndarray, rate: float) -> None:
    model = np.linspace(-1, 1, 7)
    by_hand = [m + rate * u for m, u in zip(model.tolist(), update.tolist(), strict=True)]
    assert add_scaled(model, update, rate).tolist() == by_hand


def test_advance_other_length_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an update of 3 values, got 2"):
        add_scaled(np.zeros(3), np.zeros(2), 1.0)
