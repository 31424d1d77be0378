"""Find and stop exactly the processes that have a tag in their environment.

Rules:

* all processes that a tagged process starts inherit the tag, and keep it when their parent ends; so the tag finds
  processes that a killed owner left;
* a process without the tag is never signalled: a pid file descriptor is opened before the tag is read, so that the
  process id cannot be reused by another process in between;
* Linux only (``/proc`` and pid file descriptors); processes of other users are not seen.
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
"""The environment variable of a SuperLink and of all that it starts; its value is their folder."""
OWNER: Final = "CONSILIUM_OWNER"
"""The environment variable with the descriptor of the pipe by which a SuperLink notices that its owner ended."""


def stop_tagged(name: str, value: str, *, but: int | None = None) -> None:
    """Stop every process whose environment has ``name=value``, except the process ``but``; return after they end.

    SIGTERM first; SIGKILL for those that still run after ``PATIENCE_S``.
    """
    # The processes are listed again before SIGKILL: one may have started another meanwhile.
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
    """Yield a pid file descriptor of every running process with ``mark``, except ``but``; the caller closes it."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == but:
            continue
        # Before the environment is read, so that the id cannot pass to another process in between.
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
