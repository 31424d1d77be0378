"""The numbers of system calls are those of libseccomp; the filter's steps are read by an interpreter written here."""

import ctypes
import ctypes.util
import errno
import struct

import pytest

from client.training import system_calls
from client.training.system_calls import CALLS, CLONE, CLONE3, SOCKET, make_filter

X86_64, ARM64 = 0xC000003E, 0xC00000B7
ALLOW, KILL = 0x7FFF0000, 0x80000000
NO_PERMISSION, NO_SUCH_CALL = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
PROCESSORS = [("x86_64", X86_64, 0), ("aarch64", ARM64, 1)]


def decide(code: bytes, architecture: int, number: int, first: int = 0) -> int:
    """Run the filter as the kernel would, on a call with one argument."""
    data = struct.pack("<IIQQ", number, architecture, 0, first)
    steps = list(struct.iter_unpack("=HBBI", code))
    at = value = 0
    while True:
        operation, then, otherwise, wanted = steps[at]
        at += 1
        if operation == 0x06:
            return int(wanted)
        if operation == 0x20:
            value = int.from_bytes(data[wanted : wanted + 4], "little")
            continue
        holds = {0x15: value == wanted, 0x35: value >= wanted, 0x45: bool(value & wanted)}[operation]
        at += then if holds else otherwise


@pytest.mark.parametrize(("machine", "architecture", "column"), PROCESSORS)
def test_filter_refuses_what_is_listed_and_allows_the_rest(machine: str, architecture: int, column: int) -> None:
    code = make_filter(machine, allow_unix=False)
    listed = {numbers[column] for numbers in CALLS.values()}
    wanted = dict.fromkeys(listed | {SOCKET[column]}, NO_PERMISSION) | {CLONE3[column]: NO_SUCH_CALL}
    assert {number: decide(code, architecture, number) for number in range(600)} == {
        number: wanted.get(number, ALLOW) for number in range(600)
    }


@pytest.mark.parametrize(("machine", "architecture", "column"), PROCESSORS)
def test_filter_refuses_a_clone_into_namespaces_alone(machine: str, architecture: int, column: int) -> None:
    code = make_filter(machine, allow_unix=False)
    threads = 0x3D0F00  # what the C library's threads ask for
    assert decide(code, architecture, CLONE[column], threads) == ALLOW
    for flag in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert decide(code, architecture, CLONE[column], threads | flag) == NO_PERMISSION


@pytest.mark.parametrize(("machine", "architecture", "column"), PROCESSORS)
def test_filter_that_leaves_unix_sockets_leaves_no_other_family(
    machine: str, architecture: int, column: int
) -> None:
    code = make_filter(machine, allow_unix=True)
    decided = {family: decide(code, architecture, SOCKET[column], family) for family in range(50)}
    assert decided == {family: ALLOW if family == 1 else NO_PERMISSION for family in range(50)}


def test_filter_ends_calls_of_another_processor_and_refuses_those_of_x32() -> None:
    code = make_filter("x86_64", allow_unix=False)
    assert decide(code, 0x40000003, 102) == KILL  # socketcall of i386
    assert decide(code, X86_64, 0x40000000 | 41) == NO_PERMISSION


def test_processor_whose_calls_are_not_known_has_no_filter() -> None:
    with pytest.raises(OSError, match="there is none for the processor riscv64"):
        make_filter("riscv64", allow_unix=False)


@pytest.mark.parametrize(("machine", "architecture", "column"), PROCESSORS)
def test_numbers_of_calls_are_those_of_libseccomp(machine: str, architecture: int, column: int) -> None:
    found = ctypes.util.find_library("seccomp")
    if found is None:
        pytest.skip("libseccomp is not installed")
    library = ctypes.CDLL(found)
    every = {**CALLS, "socket": SOCKET, "clone": CLONE, "clone3": CLONE3, "seccomp": system_calls._SECCOMP}
    resolved = {
        name: library.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(architecture), name.encode())
        for name in every
    }
    assert resolved == {name: numbers[column] for name, numbers in every.items()}
