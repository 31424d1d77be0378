"""Add up how long the steps of a piece of work take, each without the steps inside it.

So the steps and the rest are the whole, and a log line says where the time went. Steps are named where they are done;
whoever began the work takes what has added up. Each thread adds up its own.
"""

import contextlib
import threading
import time
from collections.abc import Iterator


class _Times(threading.local):
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.inside = 0.0
        """Seconds of the steps that ended inside the present one."""


_times = _Times()


@contextlib.contextmanager
def measure_step(name: str) -> Iterator[None]:
    """Add the seconds of the block to the step ``name``, less those of steps inside it; also if it fails."""
    before, _times.inside = _times.inside, 0.0
    began = time.perf_counter()
    try:
        yield
    finally:
        whole = time.perf_counter() - began
        _times.seconds[name] = _times.seconds.get(name, 0.0) + whole - _times.inside
        _times.inside = before + whole


def take_steps() -> dict[str, float]:
    """Return the seconds of every step of this thread since the last call, in the order in which they first ended."""
    taken, _times.seconds = _times.seconds, {}
    return taken


def describe_steps(seconds: dict[str, float]) -> str:
    """Write them in words.

    >>> describe_steps({"fetch": 0.25, "open": 1.5})
    'fetch 0.25 s, open 1.50 s'
    """
    return ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
