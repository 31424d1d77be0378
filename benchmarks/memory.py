"""Measure the memory of processes: now, at its peak as it is seen, and its growth as the kernel keeps it.

Sizes are proportional set sizes, in which a shared page counts once, where nothing else is said.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

MIB: Final = 1 << 20


def resident_mb(pids: Iterable[int]) -> float:
    """Sum the memory of ``pids``, in MiB; a process that has ended counts as 0."""
    return sum(_resident_kb(pid) for pid in pids) / 1024


def read_status_mb(name: str) -> float:
    """Return a size of this process, in MiB: ``VmRSS``, what is resident, or ``VmHWM``, the most that ever was."""
    return _read_status_kb("self", name) / 1024


def _read_status_kb(process: int | str, name: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _resident_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


class _Watched:
    """Looks again and again at processes, in a thread, while this context is entered, and once when it is left."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            self._look()
        self._look()

    def _look(self) -> None:
        raise NotImplementedError


class Peak(_Watched):
    """The greatest memory of some processes while this context is entered.

    ``mb`` is the greatest sum, ``each`` the greatest size of each process, in MiB.

    Args:
        pids: returns the processes; called at every measurement.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        super().__init__(every_s=0.1)
        self.mb = 0.0
        self.each: dict[int, float] = {}
        self._pids = pids

    def _look(self) -> None:
        now = {pid: _resident_kb(pid) / 1024 for pid in self._pids()}
        self.mb = max(self.mb, sum(now.values()))
        self.each |= {pid: max(mb, self.each.get(pid, 0.0)) for pid, mb in now.items()}


class Growth(_Watched):
    """How far each of some processes grew, at most, while this context is entered: ``each``, in MiB by process.

    The kernel keeps the largest resident size of a process (``VmHWM``), from the moment that it is told to begin anew.
    Nothing is missed between two looks: a file that is mapped, read and let go in 30 ms counts. The last look at a
    process is at most 50 ms before its end.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        super().__init__(every_s=0.05)
        self.each: dict[int, float] = {}
        self._before = {pid: _read_status_kb(pid, "VmRSS") for pid in pids}

    def __enter__(self) -> Self:
        for pid in self._before:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # source: proc_pid_clear_refs(5)
        return super().__enter__()

    def _look(self) -> None:
        for pid, before in self._before.items():
            with contextlib.suppress(OSError):  # it has ended
                grown = (_read_status_kb(pid, "VmHWM") - before) / 1024
                self.each[pid] = max(grown, self.each.get(pid, 0.0))
