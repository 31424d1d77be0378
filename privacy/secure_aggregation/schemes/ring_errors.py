"""Draw the errors of ring-LWE, in the distribution that SEAL has: 42 halves of a fair sign, variance 10.5."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import KeyStream

ERROR_BOUND: Final = 21
_BITS: Final = np.uint64((1 << 2 * ERROR_BOUND) - 1)


def draw_errors(count: int, stream: KeyStream) -> NDArray[np.int64]:
    """Draw ``count`` errors, (count,): how many of 42 fair bits are set, less :data:`ERROR_BOUND`."""
    heads: NDArray[np.int64] = np.bitwise_count(stream.draw_words(count) & _BITS).astype(np.int64)
    return heads - ERROR_BOUND
