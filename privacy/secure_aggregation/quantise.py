"""Convert an update to b-bit integers, and a sum of such integers to a sum of updates.

* All sites use one grid: step = value_range / (2^(b-1) - 1), and zero is on it. Integer 2^(b-1) + k means k steps.
  The first range is the terms', or follows from ``auto`` (``privacy/mechanisms/value_range.py``). Later ranges are
  the first one, halved as often as the last opened sum allows. Every site computes this alike, in integers.
* A value beyond [-value_range, value_range] saturates. The number of such values depends on records and stays at
  the site. All sites may know how many values of the opened mean lie at the edge of the range.
* Rounding is stochastic, so the integer is right on average (below saturation). Its randomness is an argument.
* The residual that rounding and saturation leave is added to the next round's update (error feedback), so that
  errors do not add up over rounds. With local noise it is a function of a value that is noised already
  (post-processing).
* The way back is one subtraction and one multiplication per element in float64: the same bits on every machine.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import TrainingError
from privacy.randomness import KeyStream

_CHUNK: Final = 1 << 15  # values rounded at a time: the working memory stays in a core's cache
_HEAD_ROOM: Final = 4
"""How many times larger than expected a site's next update may be. The expected size is the largest mean times the
square root of the number of sites n, because a mean of n independent noises is smaller than one of them by
sqrt(n)."""
MOST_HALVINGS: Final = 20
_EDGE: Final = 0.95


@dataclass(frozen=True)
class Grid:
    """The integers of ``bits`` bits that represent values in [-value_range, value_range]."""

    value_range: float
    bits: int

    def halve(self, times: int) -> "Grid":
        """Return the grid whose range is halved ``times`` times: the same integers, finer steps."""
        return Grid(self.value_range / 2**times, self.bits)

    @property
    def zero(self) -> int:
        """The integer that represents 0."""
        return 1 << (self.bits - 1)

    @property
    def steps(self) -> int:
        """Steps from 0 to ``value_range``."""
        return self.zero - 1

    @property
    def step(self) -> float:
        """The difference in value between two neighbouring integers."""
        return self.value_range / self.steps


@dataclass(frozen=True)
class Quantised:
    """Integers ready to seal, and a figure for the site's own log."""

    integers: NDArray[np.uint32]  # (parameters,)
    saturated: int


def quantise(update: NDArray[np.float64], grid: Grid, randomness: KeyStream) -> Quantised:
    """Round ``update``, (parameters,), stochastically to ``grid``.

    Run by a site. ``update`` is overwritten with the residual of rounding and saturation.

    *Guarantee*: for every value within range the expected integer is exact. Integers and residual add up to the
    update, except for the last bits of float64.

    Raises:
        TrainingError: a value is not finite, so training has diverged.
    """
    integers = np.empty(len(update), dtype=np.uint32)
    saturated = 0
    for start in range(0, len(update), _CHUNK):
        part = update[start : start + _CHUNK]
        if not np.isfinite(part).all():
            raise TrainingError("the update has values that are not finite: training diverged, nothing is sealed")
        saturated += int(np.count_nonzero(np.abs(part) > grid.value_range))
        steps = np.clip(part / grid.value_range, -1.0, 1.0) * grid.steps
        below = np.floor(steps)
        # rounded up with a probability equal to the fraction, so that the expected integer is exact
        rounded = below + (randomness.draw_uniform(len(part)) < steps - below)
        part -= rounded * grid.step  # the residual, for error feedback
        integers[start : start + len(part)] = (rounded + grid.zero).astype(np.uint32)
    return Quantised(integers, saturated)


def dequantise(total: NDArray[np.int64], sites: int, grid: Grid) -> NDArray[np.float64]:
    """Return the sum of the updates whose integers, one vector per site, add up to ``total``; (parameters,)."""
    values = np.empty(len(total))
    for place, steps in _iterate_steps(total, sites, grid):
        np.multiply(steps, grid.step, out=values[place], dtype=np.float64)
    return values


def _iterate_steps(total: NDArray[np.int64], sites: int, grid: Grid) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yield the places of a ``total``, part by part, and how many steps from 0 each of their values is."""
    for start in range(0, len(total), _CHUNK):
        place = slice(start, start + _CHUNK)
        yield place, total[place] - sites * grid.zero


def count_means_at_edge(total: NDArray[np.int64], sites: int, grid: Grid) -> int:
    """Count the values of a ``total`` on ``grid`` whose mean lies at the edge of the range.

    There all sites sent a value that was cut. A sum does not show that only some of them did: each site counts the
    values that it cuts itself.
    """
    edge = _EDGE * grid.steps * sites
    return sum(int(np.count_nonzero(np.abs(steps) >= edge)) for _, steps in _iterate_steps(total, sites, grid))


def compute_next_halvings(total: NDArray[np.int64], sites: int, grid: Grid, halvings: int) -> int:
    """Compute how often the terms' range is halved in the next round.

    Only integers are used, from a sum that every site has opened, so all sites get the same result.

    Args:
        total: the opened sum of this round, (parameters,).
        sites: how many sites are in it.
        grid: the grid of this round.
        halvings: how often the terms' range is halved in ``grid``.
    """
    if not len(total):
        return halvings
    largest = max(int(np.abs(steps).max()) for _, steps in _iterate_steps(total, sites, grid))
    # isqrt(4 n) / 2 is sqrt(n), rounded down to a multiple of 1/2
    room, needed = grid.steps * sites, max(1, _HEAD_ROOM * largest * math.isqrt(4 * sites) // 2)
    # floor(log2(room / needed)) in integers; negative where the range must become larger again
    finer = (room // needed).bit_length() - 1 if room >= needed else -((needed - 1) // room).bit_length()
    return min(max(halvings + finer, 0), MOST_HALVINGS)
