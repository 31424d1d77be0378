"""A model as one vector of float64: what is advanced, compared, and agreed on by every site.

Rules:

* the same terms and the same aggregates give the same bits on every machine: plain element-wise numpy float64
  operations, one after the other in fixed order, no fused multiply-add, no torch;
* the digest is SHA-256 over the little-endian bytes of the float64 values.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def compute_vector_digest(vector: Vector) -> str:
    """SHA-256 of the values as little-endian float64, in lower-case hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(vector, dtype="<f8").tobytes()).hexdigest()


def add_scaled(model: Vector, mean_update: Vector, rate: float) -> Vector:
    """The next shared model: ``model + rate * mean_update``, rounded after each of the two steps; (P,).

    Raises:
        ValueError: the two vectors differ in length.
    """
    if model.shape != mean_update.shape:
        raise ValueError(f"expected an update of {model.size} values, got {mean_update.size}")
    step = np.multiply(mean_update, np.float64(rate), dtype=np.float64)
    return np.add(model, step, dtype=np.float64)
