"""What the benchmarks say of a process's memory."""

import subprocess
import sys
from typing import IO

import pytest

from benchmarks.memory import Growth

_CHILD = """
import sys
print("ready", flush=True)
for line in sys.stdin:
    held = b"1" * (int(line) << 20)
    del held
    print("freed", flush=True)
"""


def test_memory_that_was_held_for_a_moment_counts() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        _hold(child.stdin, child.stdout, mib=200)  # before: does not count
        with Growth([child.pid]) as growth:
            _hold(child.stdin, child.stdout, mib=64)
        child.stdin.close()
    assert growth.each[child.pid] == pytest.approx(64, abs=4)


def _hold(orders: IO[str], answers: IO[str], mib: int) -> None:
    orders.write(f"{mib}\n")
    orders.flush()
    assert answers.readline() == "freed\n"
