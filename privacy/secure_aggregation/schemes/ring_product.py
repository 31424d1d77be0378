"""Multiply polynomials with a ternary one, exactly, by fast Fourier transforms in double precision.

Polynomials are modulo X^N + 1 and q. With n = N / 2 and w = exp(i pi / N), a polynomial x becomes n complex numbers
(x_j + i x_(j+n)) w^j. Their cyclic product, by transforms of length n, is the product of polynomials, in the same form
(the right-angle convolution: Crandall and Pomerance 2005, section 9.5).

*Guarantee*: the result is exact, whatever the polynomials, also those that an adversary chose.

* They are split in halves of 27 bits. A product of a half with a ternary polynomial is an integer of at most 39 bits.
* By Higham 2002, theorem 24.2, a transform of length 2048 errs by at most 75 u of the vector's 2-norm, u = 2^-53. All
  steps of a product, both transforms, their roots of unity and the ternary factor's own spectrum, err by at most
  400 u times the half's norm, at most 2^33, times the spectrum's largest absolute value. A spectrum up to
  :data:`LARGEST_IN_SPECTRUM` therefore leaves less than 0.4 in every coefficient, and the nearest integer is the right
  one. (In practice the error is about 2^-17.)
* Each part of a spectrum's number is a sum of N values, each in [-1, 1]. Of a fair ternary polynomial it is beyond
  LARGEST_IN_SPECTRUM with probability below 2^-170 (Hoeffding 1963). Any other factor is refused.

The time that it takes depends on no value.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS, RING_DEGREE
from privacy.secure_aggregation.schemes.coefficients import Polynomials
from privacy.secure_aggregation.schemes.residues import reduce_sums

Ternary = NDArray[np.int8]
"""(RING_DEGREE,): coefficients of -1, 0 and 1."""

LARGEST_IN_SPECTRUM: Final = 1024.0
_LENGTH: Final = RING_DEGREE // 2
_HALF_BITS: Final = 27
_HALF: Final = np.int64((1 << _HALF_BITS) - 1)
_WRAPPED: Final = np.int64((1 << 2 * _HALF_BITS) - COEFFICIENT_MODULUS)  # 2^54 modulo q
_TURNS: Final = np.exp(1j * np.pi * np.arange(_LENGTH) / RING_DEGREE)
_BACK: Final = _TURNS.conj()


class TernaryFactor:
    """A ternary polynomial that others are multiplied with.

    Raises:
        SealingError: its spectrum is too large for exact products, so nobody drew it as keys are drawn.
    """

    def __init__(self, coefficients: Ternary) -> None:
        spectrum = np.fft.fft(_TURNS * (coefficients[:_LENGTH] + 1j * coefficients[_LENGTH:]))
        if np.abs(spectrum).max() > LARGEST_IN_SPECTRUM:
            raise SealingError("the study key is refused: its coefficients are not random")
        self._spectrum = spectrum / _LENGTH

    def multiply_and_add(self, factors: Polynomials, addends: NDArray[np.int64]) -> Polynomials:
        """Compute ``addends`` and the products of ``factors`` with this polynomial, below q.

        Args:
            factors: coefficients below 2^54.
            addends: (n, RING_DEGREE), from -2^50 to q + 2^50.
        """
        turned = np.empty((2, len(factors), _LENGTH), dtype=np.complex128)
        half = np.bitwise_and(factors.view(np.int64), _HALF)
        _join(half, turned[0])
        _join(np.right_shift(factors.view(np.int64), _HALF_BITS, out=half), turned[1])
        turned *= _TURNS
        np.fft.fft(turned, out=turned)
        turned *= self._spectrum
        np.fft.ifft(turned, norm="forward", out=turned)
        turned *= _BACK
        numbers = turned.view(np.float64)
        np.rint(numbers, out=numbers)
        total, high = np.empty((2, len(factors), RING_DEGREE), dtype=np.int64)
        _part(turned[0], total)
        _part(turned[1], high)
        total += addends
        # the upper product times 2^27, modulo q: what is beyond 2^54 wraps around
        wrapped = high >> _HALF_BITS
        wrapped *= _WRAPPED
        total += wrapped
        high &= _HALF
        high <<= _HALF_BITS
        total += high
        total += COEFFICIENT_MODULUS  # now it lies between 0 and 4 q
        return reduce_sums(total.view(np.uint64), COEFFICIENT_MODULUS, 4)


def _join(whole: NDArray[np.int64], pairs: NDArray[np.complex128]) -> None:
    """Write the lower half of the coefficients to the real parts, (n, N / 2), the upper to the imaginary ones."""
    pairs.real, pairs.imag = whole[:, :_LENGTH], whole[:, _LENGTH:]


def _part(pairs: NDArray[np.complex128], whole: NDArray[np.int64]) -> None:
    """Write real parts to the lower half of the coefficients, imaginary ones to the upper."""
    whole[:, :_LENGTH], whole[:, _LENGTH:] = pairs.real, pairs.imag
