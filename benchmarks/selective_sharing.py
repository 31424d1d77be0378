"""Train with selective sharing (Shokri and Shmatikov 2015); a part of ``benchmarks/privacy_systems_accuracy.py``.

===================  =================================================================================================
everything           every coordinate is shared, without noise
a tenth              the largest tenth of the coordinates, without noise or privacy
noised, each call    the sparse vector technique on a hundredth, epsilon 8 for each hospital's every epoch
noised, all calls    the same with epsilon 8 for all epochs of a hospital together
===================  =================================================================================================

Hospitals share one after the other, in every epoch in the same order.
"""

from typing import Final

import numpy as np

from benchmarks.privacy_systems_studies import DELTA, EPSILON, ROUNDS, Federation, Vector, compute_update, score
from privacy.mechanisms.selective_sharing import Shared, compute_total, count_shared, share_largest, share_noised
from privacy.randomness import KeyStream

_GAMMA: Final = 0.05  # bound of a coordinate
_THRESHOLD: Final = 0.01
_TENTH, _HUNDREDTH = 0.1, 0.01


def measure(made: Federation, seed: int, epochs: int = ROUNDS) -> dict[str, float]:
    """Train in every way, hospitals one after the other; return the accuracy by the name of the way."""
    stream = KeyStream(seed.to_bytes(32, "big"))  # a benchmark's noise, so that a run can be repeated
    first = made.start
    few = count_shared(_HUNDREDTH, len(first))

    def share(way: str, update: Vector) -> Shared:
        match way:
            case "everything":
                return share_largest(update, 1.0, np.inf)
            case "a tenth":
                return share_largest(update, _TENTH, np.inf)
            case "noised, each call":
                return share_noised(update, few, _THRESHOLD, _GAMMA, EPSILON, stream)
        return share_noised(update, few, _THRESHOLD, _GAMMA, EPSILON / epochs, stream)

    found = {}
    for way in ("everything", "a tenth", "noised, each call", "noised, all calls"):
        model = first.copy()
        for _ in range(epochs):
            for each in made.hospitals:  # round-robin
                shared = share(way, compute_update(made, model, each))
                model[shared.places] += shared.values / len(made.hospitals)
        found[way] = score(made, model)
    return found


def list_totals(epochs: int = ROUNDS) -> dict[str, float]:
    """Return the epsilon of all of a hospital's calls together, for the noised ways."""
    return {
        "noised, each call": compute_total(EPSILON, epochs, 1, DELTA).approximate,
        "noised, all calls": compute_total(EPSILON / epochs, epochs, 1, DELTA).approximate,
    }
