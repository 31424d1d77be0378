"""Hand objects to another process through memory that both have mapped.

Through a pipe a block is copied four times: pickled, written 64 KiB at a time, read, and unpickled. Here its arrays are
written once and read where they lie. What a mailbox holds stays until the next object is put, so the two sides take
turns.

The memory has no name and is never on a disk. Both processes are of one user, and one has started the other: they
trust each other's objects (:mod:`pickle`).
"""

import mmap
import os
import pickle
import struct
from multiprocessing import reduction
from typing import Any, Final

_LENGTH: Final = struct.Struct("<Q")
_ALIGNMENT: Final = 64
_FIRST_BYTES: Final = 1 << 20


class Mailbox:
    """A place for one object at a time. It goes to a process that is being started, as its argument."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("mailbox", os.MFD_CLOEXEC)
        os.ftruncate(self._descriptor, _FIRST_BYTES)
        self._memory = mmap.mmap(self._descriptor, _FIRST_BYTES)

    def __getstate__(self) -> Any:
        return reduction.DupFd(self._descriptor)

    def __setstate__(self, descriptor: Any) -> None:
        self._descriptor = descriptor.detach()
        self._memory = mmap.mmap(self._descriptor, os.fstat(self._descriptor).st_size)

    def put(self, thing: object) -> bytes:
        """Write ``thing``; return a few bytes that :meth:`take` needs on the other side."""
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
        parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
        needed = sum(_align(len(part)) for part in parts)
        if needed > len(self._memory):
            os.ftruncate(self._descriptor, needed)
            self._memory = mmap.mmap(self._descriptor, needed)
        start = 0
        for part in parts:
            self._memory[start : start + len(part)] = part
            start += _align(len(part))
        return b"".join(_LENGTH.pack(len(part)) for part in parts)

    def take(self, letter: bytes) -> Any:
        """Read the object that was put last; its arrays lie in the mailbox, until the next is put."""
        lengths = [length for (length,) in _LENGTH.iter_unpack(letter)]
        if sum(map(_align, lengths)) > len(self._memory):
            self._memory = mmap.mmap(self._descriptor, os.fstat(self._descriptor).st_size)
        whole, parts, start = memoryview(self._memory).toreadonly(), [], 0
        for length in lengths:
            parts.append(whole[start : start + length])
            start += _align(length)
        return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301 - written by the other process of this user


def _align(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT
