"""Find how much memory the process that trains may still take on the CPU.

It is the least of these, and None where the system tells none of them:

* what the kernel can give without swapping (``MemAvailable``);
* what is left of the limit of the control group: of the container, or of the batch job. A confined process does not
  see its group, so the one that starts it hands the limit over (:func:`describe_group_limit`);
* what is left of the process's own limits (``RLIMIT_DATA``, ``RLIMIT_AS``).

Sources: proc(5), cgroups(7), "Control Group v2" and "Memory Resource Controller" of the kernel's documentation.
"""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

GROUP_LIMIT: Final = "CONSILIUM_MEMORY_LIMIT"
"""The environment variable that hands the control group's limit over, in bytes."""
_PROCESS: Final = Path("/proc")
_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN_LIMITS: Final = {resource.RLIMIT_DATA: "VmData", resource.RLIMIT_AS: "VmSize"}


def describe_group_limit(process: Path = _PROCESS, groups: Path = _GROUPS) -> dict[str, str]:
    """Return the variable that hands over the memory limit of this process's control group; none without a limit.

    Args:
        process: where the kernel describes processes.
        groups: where it describes control groups.
    """
    limits = list(_read_group_limits(process / "self/cgroup", groups))
    return {GROUP_LIMIT: str(min(limits))} if limits else {}


def find_free_bytes(process: Path = _PROCESS) -> int | None:
    """Find how many bytes this process may still take; 0 if it has more than it should, None if nobody says.

    Args:
        process: where the kernel describes memory and processes.
    """
    own, free = _read_sizes(process / "self/status"), list[int]()
    if (available := _read_sizes(process / "meminfo").get("MemAvailable")) is not None:
        free.append(available)
    if (limit := os.environ.get(GROUP_LIMIT, "")).isdigit() and "VmRSS" in own:
        free.append(int(limit) - own["VmRSS"])
    for kind, counted in _OWN_LIMITS.items():
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY and counted in own:
            free.append(soft - own[counted])
    return max(0, min(free)) if free else None


def _read_group_limits(memberships: Path, groups: Path) -> Iterator[int]:
    """Yield the limits of this process's group and of those around it, in either version of control groups."""
    for line in _read_lines(memberships):
        match line.split(":", 2):
            case [_, "", name]:
                root, limit = groups, "memory.max"
            case [_, controllers, name] if "memory" in controllers.split(","):
                root, limit = groups / "memory", "memory.limit_in_bytes"
            case _:
                continue
        within = Path(name.lstrip("/"))  # in a container it may be the name outside, which is not here: its root is
        for folder in (within, *within.parents):
            for text in _read_lines(root / folder / limit):
                if text.isdigit():  # "max" is no limit
                    yield int(text)


def _read_sizes(path: Path) -> dict[str, int]:
    """Read the lines of a file of the kernel that give a size, in bytes."""
    sizes = {}
    for line in _read_lines(path):
        name, _, rest = line.partition(":")
        match rest.split():
            case [size, "kB"] if size.isdigit():
                sizes[name] = int(size) << 10
    return sizes


def _read_lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    return []
