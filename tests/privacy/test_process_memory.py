"""Freed memory is kept as far as it was said, and given back beyond."""

import platform
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the memory is the GNU C library's")


def count_page_faults(kept_mb: int) -> int:
    """Count the pages that the kernel gives a process in ten steps, each of which takes and frees 2 x 48 MiB."""
    program = f"""
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
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    environment = {"NUMPY_MADVISE_HUGEPAGE": "0", "PYTHONPATH": ":".join(sys.path)}  # pages of 4 kB
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def test_freed_memory_is_kept_up_to_the_bound() -> None:
    assert count_page_faults(kept_mb=128) < 1_000


def test_memory_beyond_the_bound_is_given_back() -> None:
    assert count_page_faults(kept_mb=16) > 100_000  # of 245,760
