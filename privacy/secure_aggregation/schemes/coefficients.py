"""Write the coefficients of a polynomial in 54 bits each, and read those that another party wrote.

A polynomial of N coefficients is three planes, little-endian, whatever its values:

====================  ============================================================
N x 4 bytes           bits 0 to 31 of each coefficient
N x 2 bytes           bits 32 to 47
N / 4 x 3 bytes       bits 48 to 53 of four coefficients, the first one's lowest
====================  ============================================================

Planes are copied by whole arrays, of several polynomials at once; a stream of 54-bit words would need a shift of its
own for each of 32 places.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS, POLYNOMIAL_BYTES, RING_DEGREE

Polynomial = NDArray[np.uint64]
"""(RING_DEGREE,) coefficients."""
Polynomials = NDArray[np.uint64]
"""(n, RING_DEGREE): the coefficients of n polynomials."""

_MIDDLE: Final = 4 * RING_DEGREE
_HIGH: Final = 6 * RING_DEGREE
_HIGH_BITS: Final = 6
_SIX_BITS: Final = np.uint32((1 << _HIGH_BITS) - 1)
_ONES: Final = (1 << 16) - 1
assert COEFFICIENT_MODULUS >> 32 == (1 << 22) - 1


def pack_polynomials(coefficients: Polynomials, planes: NDArray[np.uint8]) -> None:
    """Write polynomials of coefficients below 2^54 into ``planes``, (n, POLYNOMIAL_BYTES)."""
    words = coefficients.astype("<u8", copy=False)
    planes[:, :_MIDDLE].view("<u4")[:] = words.view("<u4")[:, ::2]
    planes[:, _MIDDLE:_HIGH].view("<u2")[:] = words.view("<u2")[:, 2::4]
    tops = words.view(np.uint8)[:, 6::8].copy().view("<u4")  # (n, N / 4): 6 bits in each of four bytes
    groups = tops & _SIX_BITS
    for place in range(1, 4):
        tops >>= np.uint32(8 - _HIGH_BITS)
        groups |= tops & (_SIX_BITS << np.uint32(_HIGH_BITS * place))
    high, written = planes[:, _HIGH:], groups.view(np.uint8)
    for byte in range(3):
        high[:, byte::3] = written[:, byte::4]


def unpack_polynomials(planes: NDArray[np.uint8], name: str) -> Polynomials:
    """Read polynomials that another party wrote.

    Args:
        planes: (n, POLYNOMIAL_BYTES).
        name: what the polynomials belong to, for the refusal.

    Raises:
        SealingError: a coefficient is not below the modulus.
    """
    words = np.empty((len(planes), RING_DEGREE), dtype="<u8")
    words.view("<u4")[:, ::2] = planes[:, :_MIDDLE].view("<u4")
    words.view("<u2")[:, 2::4] = planes[:, _MIDDLE:_HIGH].view("<u2")
    read = np.zeros((len(planes), RING_DEGREE), dtype=np.uint8)
    for byte in range(3):
        read[:, byte::4] = planes[:, _HIGH + byte :: 3]
    groups = read.view("<u4")  # (n, N / 4)
    tops = groups & _SIX_BITS
    for place in range(1, 4):
        groups <<= np.uint32(8 - _HIGH_BITS)
        tops |= groups & (_SIX_BITS << np.uint32(8 * place))
    words.view("<u2")[:, 3::4] = tops.view(np.uint8)
    if words.max() >= COEFFICIENT_MODULUS:
        raise SealingError(f"the {name} is refused: a coefficient is not below the modulus {COEFFICIENT_MODULUS}")
    return words.astype(np.uint64, copy=False)


def pack_polynomial(coefficients: Polynomial) -> bytes:
    """Write the coefficients of one polynomial, below 2^54; the result is POLYNOMIAL_BYTES long."""
    planes = np.empty((1, POLYNOMIAL_BYTES), dtype=np.uint8)
    pack_polynomials(coefficients[None], planes)
    return planes.tobytes()


def unpack_polynomial(data: bytes, name: str) -> Polynomial:
    """Read one polynomial as :func:`unpack_polynomials` does, from its POLYNOMIAL_BYTES.

    Raises:
        SealingError: a coefficient is not below the modulus.
    """
    polynomial: Polynomial = unpack_polynomials(np.frombuffer(data, dtype=np.uint8)[None], name)[0]
    return polynomial


def require_polynomials(planes: NDArray[np.uint8], name: str) -> None:
    """Refuse what :func:`unpack_polynomials` refuses.

    Raises:
        SealingError: a coefficient is not below the modulus.
    """
    # the modulus begins with 22 ones, so a coefficient beyond it has ones alone in the middle plane: 6 in 100
    # polynomials below the modulus have such a coefficient too
    suspect = planes[:, _MIDDLE:_HIGH].view("<u2").max(axis=1) == _ONES
    if suspect.any():
        unpack_polynomials(planes[suspect], name)
