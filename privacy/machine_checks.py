"""Check what every installation needs of its machine: the versions of its program, disk, memory, and fresh backups."""

import importlib.metadata
import platform
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from privacy.backup import read_last_backup
from privacy.errors import Error
from privacy.health import Line, amber, green, red
from privacy.program import read_program

_DISTRIBUTION: Final = "consilium"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_GIB: Final = 1 << 30
DISK_RED_BYTES: Final = _GIB // 4
DISK_AMBER_BYTES: Final = 2 * _GIB
BACKUP_AMBER_DAYS: Final = 7
BACKUP_RED_DAYS: Final = 31
_DAY_S: Final = 86400.0


def list_versions() -> dict[str, str]:
    """List the versions of this program, of Python, SQLite and the kernel, and of the libraries that it needs."""
    found = {
        _DISTRIBUTION: importlib.metadata.version(_DISTRIBUTION),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    for name, _ in _list_requirements():
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def check_version() -> Iterator[Line]:
    """Check that the libraries are there, in the versions that are pinned (``==``)."""
    versions, wrong = list_versions(), []
    for name, bound in _list_requirements():
        if versions[name] == "missing":
            wrong.append(f"{name} is missing")
        elif bound.startswith("==") and not versions[name].startswith(bound.removeprefix("==").removesuffix("*")):
            wrong.append(f"{name} is {versions[name]}, expected {bound}")
    own = f"consilium {read_program().short}, Python {versions['python']}"
    if wrong:
        yield red("version", f"{own}: {'; '.join(wrong)}", "install it again, with the versions of constraints.txt")
    else:
        yield green("version", own)


def _list_requirements() -> list[tuple[str, str]]:
    """List the names of the libraries that this program needs to run, each with its bound."""
    found = []
    for each in importlib.metadata.requires(_DISTRIBUTION) or ():
        requirement, _, condition = each.partition(";")
        match = _NAME.match(requirement)
        if match and not condition.strip():
            found.append((match[0], requirement[match.end() :].strip()))
    return found


def check_disk(folder: Path, needs: int = 0) -> Iterator[Line]:
    """Check the room on the disk of ``folder``, in which a study may need ``needs`` bytes."""
    free = shutil.disk_usage(folder).free
    found = f"{free / _GIB:.1f} GiB are free for {folder}"
    step = "make room on this disk: a full one stops studies, and loses nothing that was recorded"
    if free < DISK_RED_BYTES + needs:
        yield red("disk", found, step)
    elif free < DISK_AMBER_BYTES + needs:
        yield amber("disk", found, step)
    else:
        yield green("disk", found)


def read_free_memory() -> int | None:
    """Read how many bytes of memory programs can still have (MemAvailable, proc(5)); None where that is not said."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def check_backup(folder: Path, command: str, error: type[Error]) -> Iterator[Line]:
    """Check how old the last backup of ``folder`` is; ``command`` writes a new one."""
    last, step = read_last_backup(folder, error), f"write one and keep it elsewhere: {command}"
    if last is None:
        yield amber("backup", "there is none: what this disk loses is lost", step)
        return
    days = (time.time() - last.time) / _DAY_S
    found = f"the last one is {days:.0f} days old"
    if days > BACKUP_RED_DAYS:
        yield red("backup", found, step)
    elif days > BACKUP_AMBER_DAYS:
        yield amber("backup", found, step)
    else:
        yield green("backup", found)
