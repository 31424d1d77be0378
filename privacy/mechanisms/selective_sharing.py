"""Share a few coordinates of an update (Shokri and Shmatikov 2015), plainly or by the sparse vector technique.

Rules:

* values are bounded to [-gamma, gamma] first; then the ``ceil(theta n)`` largest in size are shared, exactly so many,
  and of equal ones the first. This has **no privacy**: which coordinates are large depends on records, and so do the
  values;
* with privacy, values are whole multiples of gamma / ``GRID``, and all noise is exact discrete Laplace noise, so that
  no low bits betray a value. A coordinate is shared if its size and noise of its own exceed the threshold and the
  threshold's noise, which is drawn anew after each hit. What is shared is not the value that was compared: it has fresh
  noise. After ``count`` hits nothing more is looked at.

**Guarantee** of :func:`share_noised`: epsilon-DP for one call. With c hits and a sensitivity D, noise of scale 2 c D /
e1 on the threshold and twice that on each query costs e1 = 8/9 epsilon; c values with noise of scale 2 c D / e2 cost e2
/ 2, for e2 = 2/9 epsilon (Dwork and Roth 2014, algorithm 3, theorem 3.28).

**Privacy unit.** Whatever the update is of. Every coordinate is in [-gamma, gamma], so it moves by at most D = 2 gamma
whatever changes, even all of a participant's records; any number of queries may move at once. It holds for **one
call**: each epoch of each participant is one, and :func:`compute_total` adds them. A figure "per parameter", epsilon /
c, is not a guarantee for anybody.

*Edge cases*: with fewer hits than ``count`` the budget is spent all the same; an update that is not finite counts as
zero.

Sources: Shokri and Shmatikov 2015, Privacy-preserving deep learning (CCS 2015); Dwork and Roth 2014, The algorithmic
foundations of differential privacy, section 3.6; Lyu, Su and Li 2017, Understanding the sparse vector technique (arXiv
1603.01699), for variants that are not private.
"""

import math
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from privacy.mechanisms.discrete_gaussian import sample_laplace_many
from privacy.randomness import KeyStream

Vector = NDArray[np.float64]

GRID: Final = 1024
"""Whole numbers from 0 to gamma."""
SENSITIVITY: Final = 2 * GRID
_COMPARED: Final = Fraction(8, 9)  # of epsilon, for which coordinates are shared
_RELEASED: Final = Fraction(2, 9)  # of which the values cost half


class Shared(NamedTuple):
    """Coordinates that leave a participant: their places, rising, and their values."""

    places: NDArray[np.int64]
    values: Vector


class SparseNoise(NamedTuple):
    """The noise of one call, in whole units of gamma / ``GRID``: for c hits among n coordinates.

    Attributes:
        threshold: (c,), one for each hit.
        queries: (n,), one for each coordinate.
        released: (c,), one for each hit.
    """

    threshold: NDArray[np.int64]
    queries: NDArray[np.int64]
    released: NDArray[np.int64]


def count_shared(theta: float, length: int) -> int:
    """Return how many of ``length`` coordinates are shared: ceil(theta n), of the decimal number that is written.

    >>> [count_shared(theta, 30) for theta in (0.1, 0.101, 1.0)]
    [3, 4, 30]
    """
    return math.ceil(Fraction(str(theta)) * length)


def share_largest(update: Vector, theta: float, gamma: float) -> Shared:
    """Share the largest coordinates of ``update`` (n,), bounded by ``gamma``, without privacy. Run by a participant."""
    bounded = _bound(update, gamma)
    order = np.argsort(-np.abs(bounded), kind="stable")
    places = np.sort(order[: count_shared(theta, len(update))])
    return Shared(places, bounded[places])


def share_noised(
    update: Vector, count: int, threshold: float, gamma: float, epsilon: float, stream: KeyStream
) -> Shared:
    """Share at most ``count`` coordinates of ``update`` (n,) by the sparse vector technique. Run by a participant.

    Args:
        update: the change of the parameters.
        count: c, the most that are shared.
        threshold: tau, above which a coordinate is shared, noise apart.
        gamma: the bound of a value, before and after noise.
        epsilon: of this call.
        stream: fresh secret randomness.
    """
    whole = np.rint(_bound(update, gamma) / gamma * GRID).astype(np.int64)
    limit = round(threshold / gamma * GRID)
    found = scan(whole, limit, draw_noise(count, len(update), epsilon, stream))
    return Shared(found.places, np.clip(found.values, -GRID, GRID) / GRID * gamma)


def scan(whole: NDArray[np.int64], limit: int, noise: SparseNoise) -> Shared:
    """Scan the coordinates ``whole`` (n,), in units of gamma / ``GRID``, with the noise that was drawn."""
    places, values = list[int](), list[int]()
    most = len(noise.threshold)
    for place, (value, query) in enumerate(zip(whole.tolist(), noise.queries.tolist(), strict=True)):
        if abs(value) + query >= limit + int(noise.threshold[len(places)]):
            values.append(value + int(noise.released[len(places)]))
            places.append(place)
            if len(places) == most:
                break
    return Shared(np.array(places, dtype=np.int64), np.array(values, dtype=np.float64))


def draw_noise(count: int, length: int, epsilon: float, stream: KeyStream) -> SparseNoise:
    """Draw the noise of one call, for ``count`` hits among ``length`` coordinates; scales are rounded up."""
    compared, released = compute_scales(count, epsilon)
    return SparseNoise(
        sample_laplace_many(compared, count, stream),
        sample_laplace_many(2 * compared, length, stream),
        sample_laplace_many(released, count, stream),
    )


def compute_scales(count: int, epsilon: float) -> tuple[int, int]:
    """Return the scales of the threshold's noise and of the released values, in units of gamma / ``GRID``."""
    parts = (_COMPARED * Fraction(str(epsilon)), _RELEASED * Fraction(str(epsilon)))
    compared, released = (math.ceil(2 * count * SENSITIVITY / part) for part in parts)
    return compared, released


class Total(NamedTuple):
    """What all calls of a participant cost together.

    Attributes:
        calls: how many.
        pure: epsilon, with delta 0: calls times epsilon.
        approximate: epsilon at the given delta; never more than ``pure``.
        per_parameter: epsilon of one call over its coordinates, which the paper states and which guarantees nothing.
    """

    calls: int
    pure: float
    approximate: float
    per_parameter: float

    def __str__(self) -> str:
        """Say the total in a sentence."""
        return (
            f"{self.calls} calls cost epsilon {self.pure:g} in all (or {self.approximate:.4g} with delta); 'epsilon "
            f"{self.per_parameter:g} per parameter' is no guarantee"
        )


def compute_total(epsilon: float, calls: int, count: int, delta: float) -> Total:
    """Return what ``calls`` calls of ``epsilon`` and ``count`` coordinates each cost together.

    An epsilon-DP call is epsilon^2 / 2-zCDP (Bun and Steinke 2016, proposition 1.4); zCDP adds, and rho of it is
    epsilon rho + 2 sqrt(rho ln(1/delta)) at delta (proposition 1.3).
    """
    pure = epsilon * calls
    rho = calls * epsilon**2 / 2
    return Total(calls, pure, min(pure, rho + 2 * math.sqrt(rho * math.log(1 / delta))), epsilon / count)


def _bound(update: Vector, gamma: float) -> Vector:
    if not np.isfinite(update).all():
        return np.zeros_like(update)
    bounded: Vector = np.clip(update, -gamma, gamma)
    return bounded
