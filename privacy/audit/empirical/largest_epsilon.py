"""Find the largest epsilon that is refuted, by bisection."""

from collections.abc import Callable
from typing import Final

_MOST: Final = 128.0  # an epsilon beyond this promises nothing
_STEPS: Final = 40


def find_largest(is_refuted: Callable[[float], bool]) -> float:
    """Return the largest epsilon that is refuted, found from below; 0 if none is.

    Args:
        is_refuted: of an epsilon; true up to some value, and false from there on.
    """
    if not is_refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while high < _MOST and is_refuted(high):
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_refuted(middle) else (low, middle)
    return low
