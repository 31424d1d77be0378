"""Give up rights before a program starts: capabilities, system calls, and by Landlock all files but those named.

::

    python -S -m client.training.restrict [--unix] [--files] [--list PATH] [--read PATH] [--write PATH] [--make PATH]
           -- PROGRAM ...

Rules:

* the rights are gone for good, for the program and all that it starts. It runs only if that was done in full;
* capabilities, with which root could look into other processes, are dropped, and the filter
  (``client/training/system_calls.py``) is set, always; ``--unix`` leaves sockets of this machine, which a
  graphics processor's driver may use;
* with ``--files`` the program sees the names that lie below ``--list``, reads what lies below ``--read``, reads and
  writes what lies below ``--write``, makes and removes what it likes below ``--make``, and nothing else. Each may be
  given several times; a path that does not exist is left out. It cannot look into other processes;
* it imports the standard library alone, and becomes the program by exec(2): Landlock binds the thread that asks for it
  and what that one starts, so no library may have started threads before.

Source: landlock(7), the kernel's ``userspace-api/landlock`` (version 1 is of Linux 5.13), capabilities(7), prctl(2).
"""

import ctypes
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from client.training.system_calls import install_filter

REFUSAL: Final = "the kernel refuses"
"""How the last line begins of a process that was not started, since its rights could not be given up."""

_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT, _CLEAR_ALL = 47, 4
_CAPABILITIES_3: Final = 0x20080522
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same for every processor
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE: Final = 1 << 14
_OF_A_FILE: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_LIST: Final = _READ_DIR
_READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE: Final = _READ | _WRITE_FILE | _TRUNCATE
_RIGHTS: Final = {"--list": _LIST, "--read": _READ, "--write": _WRITE, "--make": -1}
_HANDLED: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""Rights over files by Landlock's version: read, write, make, remove; from 2 on rename, from 3 on truncate."""
_NETWORK_SINCE, _NETWORK = 4, 0b11  # bind and connect by TCP
_SCOPE_SINCE, _SCOPE = 6, 0b11  # abstract Unix sockets and signals end at this process


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scope", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def forbid_new_privileges() -> None:
    """Forbid this process and all that it starts to gain rights by the programs that they run.

    Raises:
        OSError: the kernel refuses.
    """
    _call(ctypes.CDLL(None, use_errno=True).prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_capabilities() -> None:
    """Drop every capability of this process and of what it starts, root's too.

    Raises:
        OSError: the kernel refuses.
    """
    library = ctypes.CDLL(None, use_errno=True)
    for number in range(64):
        if library.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            break  # beyond the last one; or no root, and then a program gains none by being run
    library.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    _call(library.capset, header, none)


def allow_files(paths: Mapping[str, Sequence[str]]) -> None:
    """Give up every file but those below ``paths``, by the options of the command line.

    Raises:
        OSError: the kernel has no Landlock, or refuses.
    """
    system = ctypes.CDLL(None, use_errno=True).syscall
    version = _call(system, _CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)
    handled = _HANDLED[min(version, max(_HANDLED))]
    asked = _Ruleset(
        handled, _NETWORK if version >= _NETWORK_SINCE else 0, _SCOPE if version >= _SCOPE_SINCE else 0
    )
    size = ctypes.c_size_t(8 if version < _NETWORK_SINCE else 16 if version < _SCOPE_SINCE else 24)
    rules = _call(system, _CREATE_RULESET, ctypes.byref(asked), size, 0)
    for option, rights in _RIGHTS.items():
        for path in paths[option]:
            try:
                found = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            is_folder = stat.S_ISDIR(os.fstat(found).st_mode)
            rule = _Beneath(handled & rights & (-1 if is_folder else _OF_A_FILE), found)
            _call(system, _ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(rule), 0)
            os.close(found)
    _call(system, _RESTRICT_SELF, rules, 0)
    os.close(rules)


def _call(function: "ctypes._NamedFuncPointer", *arguments: object) -> int:
    result: int = function(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def main(words: list[str]) -> None:
    """Give up the rights and become the program."""
    given, program = words[: words.index("--")], words[words.index("--") + 1 :]
    paths: dict[str, list[str]] = {option: [] for option in _RIGHTS}
    for word, path in pairwise(given):
        if word in paths:
            paths[word].append(path)
    step = "to drop capabilities"
    try:
        forbid_new_privileges()
        drop_capabilities()
        if "--files" in given:
            step = "Landlock"
            allow_files(paths)
        step = "the filter of system calls"
        install_filter(allow_unix="--unix" in given)
    except OSError as error:
        sys.exit(f"{REFUSAL} {step}: {error.strerror}")
    os.execvp(program[0], program)  # noqa: S606 - a fixed list, and no shell


if __name__ == "__main__":
    main(sys.argv[1:])
