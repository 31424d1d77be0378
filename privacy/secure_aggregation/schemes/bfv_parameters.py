"""The parameters of BFV: ring, two moduli, the sizes that follow, and how many sites the noise allows.

* N = 4096 with one 54-bit coefficient prime q: 128-bit security with a large margin (the 2018 standard allows a
  109-bit q at this degree). One prime means no key switching, which sums do not need.
* Slots are plaintext coefficients modulo the 43-bit prime t. It is prime so that a changed sum passes a linear
  check (:mod:`privacy.secure_aggregation.check_fields`) only by guessing.
* A polynomial is written in 54 bits a coefficient, whatever its values, so every size is exact
  (:mod:`privacy.secure_aggregation.schemes.coefficients`).

Noise. A fresh symmetric ciphertext carries e of SEAL's centred binomial distribution: 42 halves of a fair sign, so
sub-Gaussian with variance 10.5. Scaling a plaintext by q/t rounds, which adds hardly more than 1/2 per plaintext. The
sum of n fresh ciphertexts less one plaintext opens exactly while its noise stays below q/2t = 1024, less what a float
loses in the last division, and by Hoeffding's inequality a coefficient exceeds T + (n + 1)/2 with probability at most
2 exp(-T^2 / 21 n).
"""

import math
from typing import Final

RING_DEGREE: Final = 4096
SLOTS: Final = RING_DEGREE
COEFFICIENT_MODULUS: Final = 18014398509309953
PLAIN_MODULUS: Final = 8796092858369
SLOT_BITS: Final = 42
"""Every integer of this many bits is a slot, as 2^42 < t < 2^43."""

SEED_BYTES: Final = 32
POLYNOMIAL_BYTES: Final = RING_DEGREE * COEFFICIENT_MODULUS.bit_length() // 8
SEALED_BYTES: Final = POLYNOMIAL_BYTES + SEED_BYTES
"""A fresh ciphertext: its first polynomial, and the public seed of its second."""

KEY_BYTES: Final = 32 + POLYNOMIAL_BYTES
"""A study key: a digest of these parameters, and its polynomial."""

_NOISE_VARIANCE: Final = 10.5
_LOST_IN_DIVISION: Final = 8.0
"""q/t times 2^-8: floats have a relative error of three times 2^-53, and slots 43 bits."""
_LEAST_SECURITY_BITS: Final = 128


def compute_failure_bits(sites: int) -> float:
    """Return -log2 of the bound on the probability that one coefficient of a sum of ``sites`` opens wrongly."""
    # the bound 2 exp(-T^2 / 21 n) with the largest T for which T + (n + 1)/2 is at most what opens
    room = COEFFICIENT_MODULUS / (2 * PLAIN_MODULUS) - _LOST_IN_DIVISION - (sites + 1) / 2
    return room**2 / (2 * _NOISE_VARIANCE * sites) / math.log(2) - 1 if room > 0 else 0.0


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
