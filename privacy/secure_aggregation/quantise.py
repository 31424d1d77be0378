"""An update becomes b-bit integers, and a sum of such integers becomes a sum of updates again.

* The grid is common to all sites: step = value_range / (2^(b-1) - 1), and zero is on it. Integer 2^(b-1) + k stands
  for k steps. The first range is the terms', or what ``auto`` makes of them
  (``privacy/mechanisms/value_range.py``); later ones are it, halved as often as the last opened sum allows,
  which every site computes alike, in integers.
* A value beyond [-value_range, value_range] saturates. How many did depends on records: it stays at the site. What
  all may know is how many values of the opened mean lie at the range's edge.
* Rounding is stochastic, so the integer is right on average (below saturation); its randomness is an argument.
* What rounding and saturation left behind is added to the next round's update (error feedback): errors do not add up
  over rounds. With local noise it is a function of a value that was noised already (post-processing).
* Way back is one subtraction and one multiplication per element in float64: the same bits on every machine.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import TrainingError
from privacy.randomness import KeyStream

_CHUNK: Final = 1 << 15  # values rounded at a time: the working memory stays in a core's cache
_HEAD_ROOM: Final = 4
"""How many times larger than expected a site's next update may be. Expected is the largest mean times the square root
of the number of sites: a mean of so many noises is smaller than one of them by that."""
MOST_HALVINGS: Final = 20
_EDGE: Final = 0.95


@dataclass(frozen=True)
class Grid:
    """The integers of ``bits`` bits that stand for values in [-value_range, value_range]."""

    value_range: float
    bits: int

    def halve(self, times: int) -> "Grid":
        """The grid of a range ``times`` halved: the same integers, finer steps."""
        return Grid(self.value_range / 2**times, self.bits)

    @property
    def zero(self) -> int:
        """The integer that stands for 0."""
        return 1 << (self.bits - 1)

    @property
    def steps(self) -> int:
        """Steps from 0 to ``value_range``."""
        return self.zero - 1

    @property
    def step(self) -> float:
        """What two neighbouring integers differ by."""
        return self.value_range / self.steps


@dataclass(frozen=True)
class Quantised:
    """Integers ready to seal, and a figure for the site's own log."""

    integers: NDArray[np.uint32]  # (parameters,)
    saturated: int


def quantise(update: NDArray[np.float64], grid: Grid, randomness: KeyStream) -> Quantised:
    """Run by a site. Round ``update``, (parameters,), stochastically to ``grid``.

    ``update`` is overwritten with what rounding and saturation left of it.

    *Guarantee*: for every value within range the expected integer is exact; integers and what is left add up to the
    update, but for the last bits of float64.

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
        rounded = below + (randomness.draw_uniform(len(part)) < steps - below)
        part -= rounded * grid.step
        integers[start : start + len(part)] = (rounded + grid.zero).astype(np.uint32)
    return Quantised(integers, saturated)


def dequantise(total: NDArray[np.int64], sites: int, grid: Grid) -> NDArray[np.float64]:
    """The sum of the updates whose integers, one vector per site, add up to ``total``; (parameters,)."""
    return (total - sites * grid.zero).astype(np.float64) * grid.step


def count_means_at_edge(total: NDArray[np.int64], sites: int, grid: Grid) -> int:
    """How many values of a ``total`` on ``grid`` have a mean at the range's edge: all its sites sent what was cut.

    Less than all cannot be told from a sum. Each site counts what it cuts itself.
    """
    return int(np.count_nonzero(np.abs(total - sites * grid.zero) >= _EDGE * grid.steps * sites))


def compute_next_halvings(total: NDArray[np.int64], sites: int, grid: Grid, halvings: int) -> int:
    """How often the terms' range is halved in the next round, after a ``total`` on ``grid``, halved already.

    Integers only, from what every site has opened: the same at all of them.
    """
    if not len(total):
        return halvings
    largest = int(np.abs(total - sites * grid.zero).max())
    room, needed = grid.steps * sites, max(1, _HEAD_ROOM * largest * math.isqrt(4 * sites) // 2)
    finer = (room // needed).bit_length() - 1 if room >= needed else -((needed - 1) // room).bit_length()
    return min(max(halvings + finer, 0), MOST_HALVINGS)
