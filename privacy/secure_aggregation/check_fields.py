"""Three secret check fields per vector: only the sum of exactly the named cohort satisfies them.

Site s seals, for j = 1..3,  check_j = sum_i k_ji * slot_i + offset_j(s)  modulo t,  over all slots before the check
fields. Anyone can add to a BFV sum, leave a site out of it, or multiply it. Without the check key nobody can change
the check fields to match.

* k (20 bits each) and the offsets come from keystreams under a check key that only the sites hold, bound to the
  context: study, key epoch, round, attempt, cohort. Another round's vector has other k and other offsets.
* The offsets are a one-time pad on the fields and depend on the site. If one site is left out or added twice, or
  the sum is multiplied, the fields are off by values that only the check key gives. The count field, which is one
  of the checked slots, shows the same errors and says which one it is.
* A changed slot satisfies one check with probability at most 2^-20 (t is prime, k has 20 bits), all three with
  2^-60. A site must end the key epoch when a check fails, so that there is no second guess.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.key_derivation import KeyPurpose, derive_stream
from privacy.secure_aggregation.layout import CHECKS
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SLOTS

_K_BITS: Final = 20
_K_MASK: Final = np.uint64((1 << _K_BITS) - 1)
_LOW_BITS: Final = 22
_LOW_MASK: Final = np.uint64((1 << _LOW_BITS) - 1)
assert SLOTS <= 1 << 20, "2^20 products of 20-bit k and 22-bit half slots stay below 2^62"


Forms = tuple[int, ...]
"""The three sums k_j . slots, modulo t; those of a vector's blocks add up to the vector's."""

NO_FORMS: Final[Forms] = (0,) * CHECKS


def compute_linear_forms(check_key: bytes, context: bytes, block: int, slots: NDArray[np.uint64]) -> Forms:
    """Compute the sums over one block's ``slots``, without the check fields.

    Run by a site.
    """
    stream = derive_stream(check_key, KeyPurpose.CHECK_COEFFICIENTS, context, block.to_bytes(4, "big"))
    sums = [0] * CHECKS
    for start in range(0, len(slots), SLOTS):  # as many at a time as stay in the processor's cache
        some = slots[start : start + SLOTS]
        # a slot has 43 bits: split in two, so that the sum of its products with k stays below 2^64
        low, high = some & _LOW_MASK, some >> np.uint64(_LOW_BITS)
        words = stream.draw_words(len(some))  # one word holds the three k of a slot
        for j in range(CHECKS):
            k = (words >> np.uint64(j * _K_BITS)) & _K_MASK
            sums[j] += int(np.dot(k, low)) + (int(np.dot(k, high)) << _LOW_BITS)
    return tuple(value % PLAIN_MODULUS for value in sums)


def add_forms(left: Forms, right: Forms) -> Forms:
    """Add two sets of sums, modulo t."""
    return tuple((one + other) % PLAIN_MODULUS for one, other in zip(left, right, strict=True))


def draw_offsets(check_key: bytes, context: bytes, site: str) -> tuple[int, ...]:
    """Draw what ``site`` adds to its check fields in this ``context``.

    Run by a site.
    """
    stream = derive_stream(check_key, KeyPurpose.CHECK_OFFSETS, context, site.encode())
    return tuple(int(value) for value in stream.draw_below(PLAIN_MODULUS, CHECKS))


def compute_expected_checks(forms: Forms, check_key: bytes, context: bytes, sites: Iterable[str]) -> Forms:
    """Compute the check fields of the sum of ``sites`` whose slots have these ``forms``.

    Run by a site.
    """
    for site in sites:
        forms = add_forms(forms, draw_offsets(check_key, context, site))
    return forms
