"""The steps of an update from a site to the opened sum: seconds and bytes, for any scheme."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Final

Now = Callable[[], float]

CPU: Final[Now] = time.process_time
"""CPU seconds: other programs on a shared machine change them less."""
WALL: Final[Now] = time.perf_counter
"""Wall-clock seconds, for steps that run in several processes."""


@dataclass(frozen=True)
class Path:
    """Seconds of each step, and bytes of one site each way.

    ``mask`` is a part of ``seal``. ``add`` is for one update. ``finish`` is what the coordinator does once after
    all are added: it takes the masks off and writes the sum.
    """

    bytes_up: float
    bytes_down: float
    quantise: float
    mask: float
    seal: float
    add: float
    finish: float
    open: float

    def whole(self, sites: int) -> float:
        """Sum the seconds from an update to the opened sum: one site's own steps and all sites' additions."""
        return self.quantise + self.seal + sites * self.add + self.finish + self.open

    def work(self, sites: int) -> float:
        """Sum the seconds of the coordinator and of all sites."""
        return sites * (self.quantise + self.seal + self.add + self.open) + self.finish


def middle(paths: Sequence[Path]) -> Path:
    """Return the median of each step."""
    return Path(*(median(getattr(path, field.name) for path in paths) for field in fields(Path)))


class Laps:
    """A stopwatch that reads the clock ``now``."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._began = now()

    def lap(self) -> float:
        """Return the seconds since the last call, or since this object was made."""
        before, self._began = self._began, self._now()
        return self._began - before
