"""Run a program as on a kernel that lacks some system calls.

    python without_calls.py 444,317 PROGRAM WORDS ...

A filter (seccomp(2)) answers each of these calls with ENOSYS, as a kernel does that does not know it. The numbers are
those of x86-64. It outlasts execve.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable

SECCOMP, LANDLOCK_CREATE = 317, 444
_NO_NEW_PRIVILEGES, _SECCOMP_MODE = 38, 22  # prctl(2)
_LOAD_NUMBER, _ANSWER, _ALLOW = (0x20, 0, 0, 0), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7FFF0000)


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


def forbid(calls: Iterable[int]) -> None:
    """Let this process, and all that it starts, have no such calls."""
    steps = [_LOAD_NUMBER]
    for number in calls:
        steps += [(0x15, 0, 1, number), _ANSWER]
    code = b"".join(struct.pack("HBBI", *step) for step in [*steps, _ALLOW])
    system = ctypes.CDLL(None)
    assert system.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    assert system.prctl(_SECCOMP_MODE, 2, ctypes.byref(_Filter(len(code) // 8, code)), 0, 0) == 0


if __name__ == "__main__":
    forbid(int(each) for each in sys.argv[1].split(",") if each)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - the test names the program
