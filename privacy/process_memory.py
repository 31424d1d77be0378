"""Keep the memory that a process frees for its next large array, in the GNU C library.

Without this an array of some MB is taken from the kernel and given back every time, and the kernel clears its pages: in
a virtual machine, whose host may have taken them back, at 2 ms a MB. Source: mallopt(3).
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
