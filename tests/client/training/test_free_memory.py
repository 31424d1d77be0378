"""How much memory is free; oracles: trees as proc(5) and cgroups(7) describe them, and the kernel's own refusal."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.training.free_memory import GROUP_LIMIT, describe_group_limit, find_free_bytes

MEMINFO = (
    "MemTotal:       16000000 kB\nMemFree:        500000 kB\nMemAvailable:    8000000 kB\nHugePages_Total:  0\n"
)
STATUS = "Name:\tpython\nVmSize:\t  900000 kB\nVmRSS:\t  300000 kB\nVmData:\t  400000 kB\nThreads:\t3\n"
NO_LIMIT_1 = "9223372036854771712\n"
TAKE = """
import resource
from pathlib import Path
from client.training.free_memory import find_free_bytes
status = Path("/proc/self/status").read_text().splitlines()
used = next(int(line.split()[1]) << 10 for line in status if line.startswith("{counted}:"))
resource.setrlimit(resource.{kind}, (used + (300 << 20), resource.RLIM_INFINITY))
free = find_free_bytes()
bytearray(free * 9 // 10)
try:
    bytearray(free * 11 // 10)
except MemoryError:
    print(free)
"""


def make_process(folder: Path, membership: str = "", meminfo: str = MEMINFO) -> Path:
    """What the kernel says of memory and of a process in the control group ``membership``."""
    (folder / "self").mkdir(parents=True)
    (folder / "self/status").write_text(STATUS)
    (folder / "self/cgroup").write_text(membership)
    (folder / "meminfo").write_text(meminfo)
    return folder


def write_limit(groups: Path, name: str, text: str) -> None:
    path = groups / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("membership", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {"memory.max": "4000000000\n"}, 4_000_000_000),
        # systemd: the group has no limit, one around it has
        ("0::/user.slice/job\n", {"user.slice/job/memory.max": "max\n", "user.slice/memory.max": "70\n"}, 70),
        # a batch job: the least of several
        ("0::/slurm/job_1\n", {"slurm/job_1/memory.max": "50\n", "slurm/memory.max": "70\n"}, 50),
        # a container that is told its name outside, where its group is the root
        ("0::/docker/0123\n", {"memory.max": "60\n"}, 60),
        # version 1, alone and beside an empty version 2
        ("4:memory:/slurm/job_1\n", {"memory/slurm/job_1/memory.limit_in_bytes": "80\n"}, 80),
        ("5:cpu,memory:/a\n1:name=systemd:/b\n0::/\n", {"memory/a/memory.limit_in_bytes": "90\n"}, 90),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": NO_LIMIT_1}, int(NO_LIMIT_1)),
        # limits of other controllers, and of other groups
        ("7:pids:/a\n", {"memory/a/memory.limit_in_bytes": "90\n"}, None),
        ("0::/a\n", {"b/memory.max": "90\n"}, None),
        ("", {"memory.max": "90\n"}, None),
    ],
)
def test_limit_of_the_control_group_is_the_least_around_the_process(
    membership: str, limits: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    for name, text in limits.items():
        write_limit(tmp_path / "groups", name, text)
    found = describe_group_limit(make_process(tmp_path / "process", membership), tmp_path / "groups")
    assert found == ({} if expected is None else {GROUP_LIMIT: str(expected)})


def test_limit_of_this_process_is_a_number_or_missing() -> None:
    assert all(text.isdigit() for text in describe_group_limit().values())


def test_free_memory_is_what_the_kernel_can_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GROUP_LIMIT, raising=False)
    assert find_free_bytes(make_process(tmp_path)) == 8_000_000 << 10


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (2_000_000 << 10, 1_700_000 << 10),  # less what the process has
        (300_000 << 10, 0),
        (100_000 << 10, 0),  # it has more than it may
        (1 << 60, 8_000_000 << 10),
    ],
)
def test_free_memory_is_at_most_what_the_group_has_left(
    limit: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GROUP_LIMIT, str(limit))
    assert find_free_bytes(make_process(tmp_path)) == expected


@pytest.mark.parametrize("text", ["", "max", "-1", "1e9"])
def test_limit_that_is_no_number_is_none(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GROUP_LIMIT, text)
    assert find_free_bytes(make_process(tmp_path)) == 8_000_000 << 10


def test_nobody_says_what_is_free_without_the_kernels_files(tmp_path: Path) -> None:
    assert find_free_bytes(tmp_path) is None
    assert describe_group_limit(tmp_path, tmp_path) == {}


@given(st.text(st.sampled_from("MemAvailable kB:-_19,/\n\r"), max_size=60))
def test_any_text_of_the_kernel_is_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = make_process(tmp_path_factory.mktemp("any"), membership=text, meminfo=text)
    found = find_free_bytes(folder)
    assert found is None or found >= 0
    assert describe_group_limit(folder, folder) == {}


@pytest.mark.parametrize(("kind", "counted"), [("RLIMIT_DATA", "VmData"), ("RLIMIT_AS", "VmSize")])
def test_free_memory_under_a_processs_own_limit_can_be_taken_and_no_more(kind: str, counted: str) -> None:
    said = subprocess.check_output([sys.executable, "-c", TAKE.format(kind=kind, counted=counted)], text=True)
    assert 200 << 20 < int(said) <= 300 << 20
