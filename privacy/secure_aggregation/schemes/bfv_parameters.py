"""The parameters of BFV: ring, two moduli, the sizes that follow, and how many sites the noise allows.

* N = 4096 with one 54-bit coefficient prime q: 128-bit security with a large margin (the 2018 standard allows a
  109-bit q at this degree). One prime means no key switching, which sums do not need.
* Slots are plaintext coefficients modulo the 43-bit prime t. It is prime so that a changed sum passes a linear
  check (:mod:`privacy.secure_aggregation.check_fields`) only by guessing.
* A polynomial is written in 54 bits a coefficient, whatever its values, so every size is exact
  (:mod:`privacy.secure_aggregation.schemes.coefficients`).

Noise. In a cohort of n sites every site adds an error of variance 10.5 n, so that their mean has SEAL's 10.5; from 21
sites on the room for the sum allows less (:func:`compute_error_variance`). Rounding adds at most 1/2 for the error and
1/2 for the scaled plaintext of each site, and 1/2 for the plaintext that is subtracted. The sum opens exactly while its
noise stays below q/2t = 1024, less what a float loses in the last division.
"""

import math
from typing import Final

RING_DEGREE: Final = 4096
SLOTS: Final = RING_DEGREE
COEFFICIENT_MODULUS: Final = 18014398509309953
PLAIN_MODULUS: Final = 8796092858369
SLOT_BITS: Final = 42
"""Every integer of this many bits is a slot, as 2^42 < t < 2^43."""

POLYNOMIAL_BYTES: Final = RING_DEGREE * COEFFICIENT_MODULUS.bit_length() // 8
"""A part, of one site or summed."""

KEY_BYTES: Final = 32 + POLYNOMIAL_BYTES
"""A study key: a digest of these parameters, and its polynomial."""

NOISE_VARIANCE: Final = 10.5
"""That of an error of SEAL's: 42 halves of a fair sign."""

_MOST_VARIANCE: Final = 4500.0
"""The most variance that a sum's noise may have; it decides from 21 sites on."""
_LOST_IN_DIVISION: Final = 8.0
"""q/t times 2^-8: a float's relative error of three times 2^-53, for 43-bit slots."""
_LEAST_SECURITY_BITS: Final = 128


def compute_error_variance(sites: int) -> float:
    """Compute the variance of the error that each of ``sites`` sites adds to a coefficient.

    With 10.5 n the mean of n errors has variance 10.5, and given all their differences the mean is what is left
    unknown. The sum has n times the variance of one, which must leave room.
    """
    return min(NOISE_VARIANCE * sites, _MOST_VARIANCE / sites)


def compute_failure_bits(sites: int) -> float:
    """Return -log2 of the bound on the probability that one coefficient of a sum of ``sites`` opens wrongly."""
    # a Gaussian of variance V is beyond T with probability at most 2 exp(-T^2 / 2 V)
    room = COEFFICIENT_MODULUS / (2 * PLAIN_MODULUS) - _LOST_IN_DIVISION - sites - 0.5
    return room**2 / (2 * sites * compute_error_variance(sites)) / math.log(2) - 1 if room > 0 else 0.0


def require_noise_room(sites: int) -> None:
    """Refuse a number of sites whose summed noise could reach the message.

    Raises:
        ValueError: a coefficient could open wrongly with probability above 2^-128.
    """
    bits = compute_failure_bits(sites)
    if bits < _LEAST_SECURITY_BITS:
        raise ValueError(
            f"the noise of {sites} sites could change a sum (2^-{bits:.0f} per slot, "
            f"expected at most 2^-{_LEAST_SECURITY_BITS}); name fewer sites"
        )
