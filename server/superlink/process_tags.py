"""Processes that carry a mark in their environment, and stopping exactly those.

A mark is inherited by everything that a marked process starts, however deep, and outlives its parent, so it finds
what a killed owner left behind. Nothing unmarked is ever signalled: a process is held by a descriptor before its
mark is read, so that its number cannot come to mean another process in between.

Linux only (``/proc`` and pid file descriptors). Processes of other users are not seen.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 10.0
TAG: Final = "CONSILIUM_SUPERLINK"
"""What a SuperLink and everything that it starts carry: their folder."""
OWNER: Final = "CONSILIUM_OWNER"
"""What tells a SuperLink the descriptor of the pipe by which it notices that its owner is gone."""


def stop_tagged(name: str, value: str, *, but: int | None = None) -> None:
    """Ask every process whose environment has ``name=value`` to end, then make it; return when all have.

    All but the process ``but``.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.ExitStack() as opened:
            handles = list(_find_tagged_processes(f"{name}={value}".encode(), but))
            for handle in handles:
                opened.callback(os.close, handle)
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
            end = time.monotonic() + PATIENCE_S
            for handle in handles:
                ended = select.poll()
                ended.register(handle, select.POLLIN)
                ended.poll(1000 * max(0.0, end - time.monotonic()))


def _find_tagged_processes(mark: bytes, but: int | None) -> Iterator[int]:
    """A pid file descriptor for every live process that carries ``mark``, except ``but``."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == but:
            continue
        try:
            handle = os.pidfd_open(int(entry.name))
        except OSError:
            continue
        try:
            carries = mark in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            carries = False
        if carries:
            yield handle
        else:
            os.close(handle)
