"""Filter the system calls of a process that trains: those that no training needs fail with EPERM.

=====================  =========================================================================================
refused                why
=====================  =========================================================================================
sockets                no address can be reached, whatever network the machine has. What was opened before stays
other processes        no reading of their memory, no tracing, no signal
keys of the kernel     they may hold the site user's credentials
namespaces and mounts  the way to rights over more than one has
io_uring               it reads, writes and connects beside any filter
the kernel itself      programs and modules in it, its counters, clock, swap and restart
=====================  =========================================================================================

Rules:

* the filter binds every thread of the process and all that it starts, and cannot be taken off;
* another processor's system calls (32-bit programs on x86-64, x32) end the process or fail;
* ``clone`` with a flag for a namespace fails; ``clone3``, whose flags no filter can read, is said not to exist, and the
  C library then uses ``clone``.

Imports the standard library alone, since ``client/training/restrict.py`` runs it before anything else.

Source: seccomp(2), the kernel's ``userspace-api/seccomp_filter``, ``asm/unistd.h`` of x86-64 and arm64.
"""

import ctypes
import errno
import os
import struct
from typing import Final

CALLS: Final[dict[str, tuple[int, int]]] = {
    "accept": (43, 202),
    "accept4": (288, 242),
    "bind": (49, 200),
    "connect": (42, 203),
    "listen": (50, 201),
    "kill": (62, 129),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "tkill": (200, 130),
    "add_key": (248, 217),
    "keyctl": (250, 219),
    "request_key": (249, 218),
    "chroot": (161, 51),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "pivot_root": (155, 41),
    "setns": (308, 268),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "acct": (163, 89),
    "bpf": (321, 280),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "init_module": (175, 105),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "perf_event_open": (298, 241),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "userfaultfd": (323, 282),
}
"""What always fails: the number of each call for x86-64 and for arm64."""
SOCKET: Final = (41, 198)
CLONE: Final = (56, 220)
CLONE3: Final = (435, 435)
_PROCESSORS: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # the column above, AUDIT_ARCH
_SECCOMP: Final = (317, 277)

_NAMESPACES: Final = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_X32: Final = 0x40000000
_UNIX: Final = 1
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # where struct seccomp_data has them
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of classic BPF
_SET_FILTER: Final = 1
_ALL_THREADS: Final = 1


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def make_filter(machine: str, *, allow_unix: bool) -> bytes:
    """Make the filter for a processor as ``uname -m`` names it: steps of 8 bytes.

    Raises:
        OSError: the calls of this processor are not written down here.
    """
    if machine not in _PROCESSORS:
        raise OSError(errno.ENOSYS, f"there is none for the processor {machine}")
    column, architecture = _PROCESSORS[machine]
    steps = [_step(_LOAD, _ARCHITECTURE), _step(_EQUAL, architecture, 1, 0), _step(_RETURN, _KILL)]
    steps.append(_step(_LOAD, _NUMBER))
    steps += _refuse_if(_AT_LEAST, _X32)
    for numbers in CALLS.values():
        steps += _refuse_if(_EQUAL, numbers[column])
    steps += _refuse_if(_EQUAL, CLONE3[column], errno.ENOSYS)
    # of these the first argument decides
    steps += [_step(_EQUAL, CLONE[column], 0, 4), _step(_LOAD, _FIRST_ARGUMENT)]
    steps += [*_refuse_if(_ANY_BIT, _NAMESPACES), _step(_RETURN, _ALLOW)]
    if allow_unix:
        steps += [_step(_EQUAL, SOCKET[column], 0, 3), _step(_LOAD, _FIRST_ARGUMENT)]
        steps += [_step(_EQUAL, _UNIX, 1, 0), _step(_RETURN, _REFUSE | errno.EPERM)]
    else:
        steps += _refuse_if(_EQUAL, SOCKET[column])
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def install_filter(*, allow_unix: bool = False) -> None:
    """Filter the system calls of this process from now on. It must have given up new privileges.

    Args:
        allow_unix: whether sockets of this machine may be made.

    Raises:
        OSError: the kernel has no filters, or this processor's calls are not known here.
    """
    code = make_filter(os.uname().machine, allow_unix=allow_unix)
    steps = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(steps, ctypes.c_void_p))
    number = _SECCOMP[_PROCESSORS[os.uname().machine][0]]
    system = ctypes.CDLL(None, use_errno=True)
    if system.syscall(number, _SET_FILTER, _ALL_THREADS, ctypes.byref(program)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _refuse_if(comparison: int, value: int, code: int = errno.EPERM) -> list[bytes]:
    return [_step(comparison, value, 0, 1), _step(_RETURN, _REFUSE | code)]


def _step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """Make one step: an operation, its value, and how many steps are left out if it holds, and if not."""
    return struct.pack("=HBBI", code, then, otherwise, value)
