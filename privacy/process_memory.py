"""Keep the memory that a process frees for its next large array, in the GNU C library.

Without this an array of some MB is taken from the kernel and given back every time, and the kernel clears its pages: in
a virtual machine, whose host may have taken them back, at 2 ms a MB. When a study is over the memory goes back to the
kernel, and what was in it with it. Sources: mallopt(3), malloc_trim(3).
"""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4


def keep_freed_memory(most_bytes: int) -> None:
    """Keep up to ``most_bytes`` of what this process's main thread frees; with another C library do nothing."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_TRIM_THRESHOLD, most_bytes)
        library.mallopt(_M_MMAP_MAX, 0)


def give_back_freed_memory() -> None:
    """Give back what was kept; the kernel clears it before anybody gets it."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
