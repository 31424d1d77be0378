"""Reduce sums of a few residues without dividing: a division takes three times as long as a step of this."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_MOST_STEPS: Final = 3


def reduce_sums(sums: NDArray[np.uint64], modulus: int, terms: int) -> NDArray[np.uint64]:
    """Reduce sums of ``terms`` residues modulo ``modulus``, in place; return them.

    They are below ``terms`` times the modulus, and below 2^64.
    """
    steps = (terms - 1).bit_length()
    if steps > _MOST_STEPS:
        sums %= np.uint64(modulus)
        return sums
    for step in reversed(range(steps)):
        # a difference below zero wraps around, to a number beyond the sum
        np.minimum(sums, sums - np.uint64(modulus << step), out=sums)
    return sums
