"""A model as one float64 vector, which every site computes and compares.

Rules:

* the same terms and the same aggregates give the same bits on every machine: element-wise float64 operations of
  numpy, one after the other in a fixed order, no fused multiply-add, no torch;
* the digest is SHA-256 over the little-endian bytes of the float64 values.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def compute_vector_digest(vector: Vector) -> str:
    """Compute the SHA-256 of the values as little-endian float64, in lower-case hexadecimal."""
    return hashlib.sha256(get_vector_bytes(vector)).hexdigest()


def get_vector_bytes(vector: Vector) -> memoryview:
    """Return the values as little-endian float64, without a copy where they are so in memory."""
    return np.ascontiguousarray(vector, dtype="<f8").data.cast("B")


def add_scaled(model: Vector, mean_update: Vector, rate: float, into: Vector | None = None) -> Vector:
    """Compute the next shared model ``model + rate * mean_update``, rounded after each of the two steps; (P,).

    It is written to ``into``, which may be the update, or to new memory.

    Raises:
        ValueError: the two vectors differ in length.
    """
    if model.shape != mean_update.shape:
        raise ValueError(f"expected an update of {model.size} values, got {mean_update.size}")
    # Two calls, so that no compiler can join them to one fused multiply-add, which rounds once.
    step = np.multiply(mean_update, np.float64(rate), out=into, dtype=np.float64)
    return np.add(model, step, out=step)
