"""Freed memory is kept as far as it was said, and given back beyond."""

import platform
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the memory is the GNU C library's")


def run(program: str) -> list[int]:
    """Run a program in a process with pages of 4 kB; return the numbers that it prints."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    environment = {"NUMPY_MADVISE_HUGEPAGE": "0", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def count_page_faults(kept_mb: int) -> int:
    """Count the pages that the kernel gives a process in ten steps, each of which takes and frees 2 x 48 MiB."""
    (faults,) = run(f"""
        import resource, numpy
        from privacy.process_memory import keep_freed_memory

        def step():
            return [numpy.ones(6 << 20) for _ in range(2)]

        keep_freed_memory({kept_mb} << 20)
        step()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """)
    return faults


def test_freed_memory_is_kept_up_to_the_bound() -> None:
    assert count_page_faults(kept_mb=128) < 1_000


def test_memory_beyond_the_bound_is_given_back() -> None:
    assert count_page_faults(kept_mb=16) > 100_000  # of 245,760


def test_kept_memory_is_given_back_when_it_is_said() -> None:
    kept, left = run("""
        import numpy
        from privacy.process_memory import give_back_freed_memory, keep_freed_memory

        def read_resident_pages():
            return int(open("/proc/self/statm").read().split()[1])

        keep_freed_memory(128 << 20)
        begun = read_resident_pages()
        numpy.ones(6 << 20)  # 12,288 pages
        print(read_resident_pages() - begun)
        give_back_freed_memory()
        print(read_resident_pages() - begun)
    """)
    assert kept > 12_000
    assert left < 1_000
