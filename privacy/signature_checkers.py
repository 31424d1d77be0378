"""Verify signatures on several cores: processes that check batches, each with a thread that talks to it.

A checker says of a signature that it holds, or nothing. One that cannot be started, or that ends, costs time and
nothing else: what nothing is said of is verified by whoever asked.
"""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Final, Self

from privacy.keys import SignedBytes
from privacy.signature_worker import format_batch

_PROGRAM: Final = (sys.executable, "-P", "-m", "privacy.signature_worker")


class Checkers:
    """Processes that check batches of signatures."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = ThreadPoolExecutor(max(1, count))
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._processes = []
        with suppress(OSError):  # no process: nothing is said of any signature
            for _ in range(count):
                process = subprocess.Popen(
                    _PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
                self._processes.append(process)
                self._idle.put(process)

    @property
    def pids(self) -> list[int]:
        """The processes' numbers."""
        return [process.pid for process in self._processes]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *cause: object) -> None:
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()

    def submit(self, batch: Sequence[SignedBytes]) -> "Future[bytes]":
        """Check a batch; the result has a byte for each signature, 1 where it holds, and may be too short."""
        return self._threads.submit(self._check, batch)

    def _check(self, batch: Sequence[SignedBytes]) -> bytes:
        if not batch or not self._processes:
            return b""
        process = self._idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(format_batch(batch))
            process.stdin.flush()
            return process.stdout.read(len(batch))
        except (OSError, ValueError):  # it has ended
            return b""
        finally:
            self._idle.put(process)
