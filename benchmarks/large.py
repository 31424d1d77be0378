"""Measure the memory that sealing a large update takes beyond the update's own integers, in a process of its own.

``python -m benchmarks.large PARAMETERS PROCESSES`` makes random integers and prints ``ready``. It seals them after
a line on stdin, and prints the seconds that it took.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import MIB, Peak, resident_mb
from benchmarks.sealed_path import layout_for, seal_alone


def large_update(parameters: int, processes: int) -> dict[str, Any]:
    """Measure sealing of ``parameters`` integers of 16 bits to a file, as a site seals an update."""
    command = [sys.executable, "-m", "benchmarks.large", str(parameters), str(processes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        before = resident_mb(_family(child.pid))
        with Peak(lambda: _family(child.pid)) as peak:
            child.stdin.write("seal\n")
            child.stdin.flush()
            seconds = float(child.stdout.readline())
    return {
        "parameters": parameters,
        "processes": processes,
        "cores": len(os.sched_getaffinity(0)),
        "integers_mb": parameters * 4 / MIB,
        "sealed_mb": layout_for(parameters, 3).sealed_bytes / MIB,
        "growth_mb": peak.mb - before,
        "seconds": seconds,
    }


def _family(pid: int) -> list[int]:
    """Return the process ``pid`` and all processes that descend from it."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def main() -> None:
    """Seal after a line on stdin."""
    parameters, processes = map(int, sys.argv[1:])
    integers = np.random.default_rng(0).integers(0, 1 << 16, parameters, dtype=np.uint32)
    seal_alone(integers[:1000], 1)  # loads libraries and tables, which are no part of the growth
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(f"{seal_alone(integers, processes)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
