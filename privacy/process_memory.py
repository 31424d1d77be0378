"""Say what a process does with the memory that it frees, in the GNU C library; with another one, nothing changes.

* Keep it for the next large array. Without this an array of some MB is taken from the kernel and given back every time,
  and the kernel clears its pages: in a virtual machine, whose host may have taken them back, at 2 ms a MB. When a study
  is over the memory goes back to the kernel, and what was in it with it.
* Share one heap among threads. Otherwise each gets one of its own, which keeps what its busiest moment needed: 32 sites
  that sent at once left 38 MiB behind in the coordinator, with one heap 22.

Sources: mallopt(3), malloc_trim(3).
"""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4
_M_ARENA_MAX: Final = -8


def keep_freed_memory(most_bytes: int) -> None:
    """Keep up to ``most_bytes`` of what this process's main thread frees."""
    _set_options((_M_TRIM_THRESHOLD, most_bytes), (_M_MMAP_MAX, 0))


def share_one_heap() -> None:
    """Let threads that begin from now on take memory from the present heaps."""
    _set_options((_M_ARENA_MAX, 1))


def give_back_freed_memory() -> None:
    """Give back what was kept; the kernel clears it before anybody gets it."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def _set_options(*options: tuple[int, int]) -> None:
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for name, value in options:
            library.mallopt(name, value)
