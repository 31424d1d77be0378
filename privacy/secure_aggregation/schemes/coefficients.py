"""Write the coefficients of a polynomial in 54 bits each, and read those that another party wrote.

A polynomial of N coefficients is three planes, little-endian, whatever its values:

====================  ============================================================
N x 4 bytes           bits 0 to 31 of each coefficient
N x 2 bytes           bits 32 to 47
N / 4 x 3 bytes       bits 48 to 53 of four coefficients, the first one's lowest
====================  ============================================================

Planes are copied by whole arrays; a stream of 54-bit words would need a shift of its own for each of 32 places.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS, POLYNOMIAL_BYTES, RING_DEGREE

Polynomial = NDArray[np.uint64]
"""(RING_DEGREE,) coefficients."""

_MIDDLE: Final = 4 * RING_DEGREE
_HIGH: Final = 6 * RING_DEGREE
_HIGH_BITS: Final = 6
_ONES: Final = (1 << 16) - 1
assert COEFFICIENT_MODULUS >> 32 == (1 << 22) - 1


def pack_polynomial(coefficients: Polynomial) -> bytes:
    """Write coefficients below 2^54; the result is POLYNOMIAL_BYTES long."""
    packed = np.empty(POLYNOMIAL_BYTES, dtype=np.uint8)
    packed[:_MIDDLE].view("<u4")[:] = coefficients & np.uint64(0xFFFFFFFF)
    packed[_MIDDLE:_HIGH].view("<u2")[:] = (coefficients >> np.uint64(32)) & np.uint64(0xFFFF)
    tops = (coefficients >> np.uint64(48)).astype("<u4").reshape(-1, 4)  # (N / 4, 4)
    groups = tops[:, 0].copy()
    for place in range(1, 4):
        groups |= tops[:, place] << np.uint32(place * _HIGH_BITS)
    packed[_HIGH:].reshape(-1, 3)[:] = groups.view(np.uint8).reshape(-1, 4)[:, :3]
    return packed.tobytes()


def unpack_polynomial(data: bytes | memoryview, name: str) -> Polynomial:
    """Read the POLYNOMIAL_BYTES of a polynomial that another party wrote.

    Args:
        data: the planes.
        name: what the polynomial belongs to, for the refusal.

    Raises:
        SealingError: a coefficient is not below the modulus.
    """
    planes = np.frombuffer(data, dtype=np.uint8)
    middle = planes[_MIDDLE:_HIGH].view("<u2")
    groups = np.zeros((RING_DEGREE // 4, 4), dtype=np.uint8)
    groups[:, :3] = planes[_HIGH:].reshape(-1, 3)
    whole = groups.reshape(-1).view("<u4")  # (N / 4,)
    tops = np.empty((RING_DEGREE // 4, 4), dtype=np.uint64)
    for place in range(4):
        tops[:, place] = (whole >> np.uint32(place * _HIGH_BITS)) & np.uint32((1 << _HIGH_BITS) - 1)
    coefficients = tops.reshape(-1)
    coefficients <<= np.uint64(16)
    coefficients |= middle
    coefficients <<= np.uint64(32)
    coefficients |= planes[:_MIDDLE].view("<u4")
    if coefficients.max() >= COEFFICIENT_MODULUS:
        raise SealingError(f"the {name} is refused: a coefficient is not below the modulus {COEFFICIENT_MODULUS}")
    return coefficients


def require_polynomial(data: bytes | memoryview, name: str) -> None:
    """Refuse what :func:`unpack_polynomial` refuses.

    Raises:
        SealingError: a coefficient is not below the modulus.
    """
    # the modulus begins with 22 ones, so a coefficient beyond it has ones alone in the middle plane: 6 in 100
    # polynomials below the modulus have such a coefficient too
    if np.frombuffer(data, dtype="<u2", count=RING_DEGREE, offset=_MIDDLE).max() == _ONES:
        unpack_polynomial(data, name)
