"""What an update's way from a site to the opened sum takes: seconds and bytes, whatever the scheme."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Final

Now = Callable[[], float]

CPU: Final[Now] = time.process_time
"""Seconds of one core: what others do on a shared machine counts less."""
WALL: Final[Now] = time.perf_counter
"""Seconds of a clock, for what runs in several processes."""


@dataclass(frozen=True)
class Path:
    """Seconds of each step, and bytes each way of one site.

    ``mask`` is a part of ``seal``. ``add`` is one update's; ``finish`` is what the coordinator does once, when all
    are added: masks off, the sum written.
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
        """From an update to the opened sum: one site's own steps, all sites' additions."""
        return self.quantise + self.seal + sites * self.add + self.finish + self.open

    def work(self, sites: int) -> float:
        """What the coordinator and all sites do, added up."""
        return sites * (self.quantise + self.seal + self.add + self.open) + self.finish


def middle(paths: Sequence[Path]) -> Path:
    """The median of each step."""
    return Path(*(median(getattr(path, field.name) for path in paths) for field in fields(Path)))


class Laps:
    """Reads a clock lap by lap."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._began = now()

    def lap(self) -> float:
        """Seconds since the last lap, or since it was made."""
        before, self._began = self._began, self._now()
        return self._began - before
