"""Scale numbers from their public range, as the contract says; nothing measured on patients shapes them.

==========  ====================
``unit``    to [0, 1]
``signed``  to [-1, 1]
``none``    clipped only
==========  ====================

A number beyond its range is clipped to it.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Scaled = Literal["unit", "signed", "none"]


def scale(numbers: NDArray[Any], low: float, high: float, scaled: Scaled) -> NDArray[np.float64]:
    """Clip ``numbers`` to the range from ``low`` to ``high`` and scale them; what is not a number stays so.

    >>> scale(np.array([-5.0, 20.0, 50.0]), 20, 80, "signed").tolist()
    [-1.0, -1.0, 0.0]
    """
    inside = np.clip(numbers.astype(np.float64), low, high)
    match scaled:
        case "unit":
            return (inside - low) / (high - low)
        case "signed":
            return 2.0 * (inside - low) / (high - low) - 1.0
        case "none":
            return inside
