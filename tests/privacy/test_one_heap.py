"""Threads share one heap; oracle: the address space that the kernel says a process has reserved."""

import platform
import subprocess
import sys

import pytest

THREADS = 8
RESERVED_MIB = 64
"""By every further heap, on a 64-bit machine (glibc, malloc/arena.c)."""
PROGRAM = """
import threading
from pathlib import Path
{first}
def reserved():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmSize:")) // 1024
def hold():
    kept = bytes(100_000)
    barrier.wait()
    barrier.wait()
threading.stack_size(1 << 20)
barrier = threading.Barrier({threads} + 1)
before = reserved()
for _ in range({threads}):
    threading.Thread(target=hold).start()
barrier.wait()
print(reserved() - before)
barrier.wait()
"""


def reserve(first: str) -> int:
    """The MiB that threads have reserved which began after ``first``."""
    program = PROGRAM.format(first=first, threads=THREADS)
    return int(subprocess.check_output([sys.executable, "-c", program], text=True))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has a heap for each thread")
def test_threads_that_begin_later_share_one_heap() -> None:
    assert reserve("from privacy.process_memory import share_one_heap; share_one_heap()") < RESERVED_MIB
    assert reserve("") > 2 * RESERVED_MIB, "a heap each, if nobody says otherwise: else this test shows nothing"
