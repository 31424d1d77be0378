"""Confine the process that trains: no network, no keys, no ledger, only the files of one study.

====================  ==========================================================================================
in force              what the process has
====================  ==========================================================================================
bubblewrap            its own namespaces (no network, no other process), no capability, no new privilege; of the file
                      system this program, the system's libraries and the study's files, all read-only, and an empty
                      ``/tmp`` that ends with it; the graphics processor where the site trains on one
Landlock              no socket; of the file system the same, and nothing to write to; other processes only by name: it
                      can neither look into them nor signal them
system call filter    no socket and no way to other processes, but everything that the site's user may read
none                  everything that the site's user has
====================  ==========================================================================================

Under bubblewrap and Landlock system calls are filtered as well (``client/training/system_calls.py``).

Rules:

* the first that works is taken. Whether it works is tried on the machine, once a process: a container or a kernel may
  forbid what is installed;
* of the environment a process gets a few variables by name (:func:`make_environment`): others may hold passwords;
* a folder of the site that lies within what is visible is covered by an empty one. Landlock cannot do that, and the
  process is not started.

Not done: another user. A process changes its user only as root, which a site's program never needs to be.
Source: bwrap(1), namespaces(7), landlock(7), seccomp(2).
"""

import functools
import glob
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import client
import models
import privacy
from client.site.launcher import Confinement
from client.training.restrict import REFUSAL
from privacy.errors import SiteConfigError, TrainingError

_PROBE_S: Final = 20
_SCRATCH: Final = "/tmp"  # noqa: S108 - an own, empty one
_SCRATCH_BYTES: Final = 1 << 30
_SYSTEM: Final = ("/usr", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")
_LINKS: Final = ("/bin", "/lib", "/lib32", "/lib64", "/sbin")
_PROCESS: Final = ("/proc",)  # the kernel lets nobody under Landlock look into others' memory or environment there
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_GRAPHICS: Final = ("/dev/nvidia*", "/dev/dri", "/sys")
_VARIABLES: Final = ("LANG", "TZ", "PATH", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONHASHSEED")
_MATHS: Final = ("OMP_", "MKL_", "OPENBLAS_", "CUDA_", "NVIDIA_", "CUBLAS_", "TORCH_", "PYTORCH_")
_PREFIXES: Final = (*_MATHS, "LC_", "CONSILIUM_")  # the last are marks, by which a process is found (docs/adr/0012)


class InForce(StrEnum):
    """What confines training."""

    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "Landlock"
    FILTER = "system call filter"
    NONE = "none"


class Found(NamedTuple):
    """The best confinement that works here, and why there is no better one."""

    in_force: InForce
    why: str
    filters_calls: bool = True

    @property
    def hides_files(self) -> bool:
        """Whether the process reads only this program and the study's files."""
        return self.in_force in (InForce.BUBBLEWRAP, InForce.LANDLOCK)

    @property
    def sentence(self) -> str:
        """Describe it for the site's people."""
        match self.in_force:
            case InForce.BUBBLEWRAP if self.filters_calls:
                return (
                    "training is confined by bubblewrap: no network, only this study's files, system calls filtered"
                )
            case InForce.BUBBLEWRAP:
                return (
                    "training is confined by bubblewrap: no network, and only this study's files; system calls are not "
                    f"filtered ({self.why})"
                )
            case InForce.LANDLOCK:
                return (
                    "training is confined by Landlock: no network, only this study's files, system calls filtered; it "
                    f"sees the names of other processes ({self.why})"
                )
            case InForce.FILTER:
                return f"training has no network, but could read what the site's user may read ({self.why})"
            case InForce.NONE:
                return f"training is not confined: it has what the site's user has ({self.why})"


def choose_confinement(wanted: Confinement) -> Found:
    """Choose what confines training on this machine.

    Raises:
        SiteConfigError: ``required``, and nothing works here that hides the site's files.
    """
    if wanted is Confinement.NONE:
        return Found(InForce.NONE, "site.yaml says confinement: none", filters_calls=False)
    found = _find_best()
    if wanted is Confinement.REQUIRED and not found.hides_files:
        raise SiteConfigError(
            "site.yaml says confinement: required, and neither bubblewrap nor Landlock works here: "
            f"{found.why}; install and allow one of them, or write confinement: available"
        )
    return found


@functools.cache
def _find_best() -> Found:
    reasons: list[str] = []
    tried = (
        Found(InForce.BUBBLEWRAP, ""),
        Found(InForce.BUBBLEWRAP, "", filters_calls=False),
        Found(InForce.LANDLOCK, ""),
        Found(InForce.FILTER, ""),
    )
    for each in tried:
        failed = _try(confine([sys.executable, "-S", "-c", ""], each))
        if failed is None:
            return each._replace(why="; ".join(dict.fromkeys(reasons)))
        reasons.append(failed)
    return Found(InForce.NONE, "; ".join(dict.fromkeys(reasons)), filters_calls=False)


def _try(command: list[str]) -> str | None:
    """Run ``command``; return why it failed, or None."""
    name = Path(command[0]).name
    if shutil.which(command[0]) is None:
        return f"{name} is not installed"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_S,
            env=make_environment(),
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{name} does not start ({type(error).__name__})"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
    return lines[-1][:200] if lines[-1].startswith(REFUSAL) else f"{name} is not permitted here: {lines[-1][:200]}"


def confine(
    command: Sequence[str],
    found: Found,
    visible: Iterable[Path] = (),
    hidden: Path | None = None,
    *,
    graphics: bool = False,
    writable: Iterable[Path] = (),
    network: bool = False,
) -> list[str]:
    """Return the command that runs ``command`` confined, with the environment of :func:`make_environment`.

    To be started by a thread that lives longer than the process: by the main thread, bubblewrap ends with its parent
    (prctl(2), PR_SET_PDEATHSIG). By another thread this is left out.

    Args:
        command: the program; its open descriptors and standard streams stay its own.
        found: how.
        visible: files and folders that it reads, under their own paths.
        hidden: the site's folder; of what lies in it, only what is named itself is seen.
        graphics: whether it needs a graphics processor.
        writable: folders that it writes.
        network: whether bubblewrap leaves it the network; a filter of system calls would not.

    Raises:
        TrainingError: Landlock is all that there is, and it cannot hide the site's folder where it lies.
    """
    visible, writable = list(visible), list(writable)
    covered = hidden is not None and any(
        _lies_in(hidden, Path(path)) for path in (*_SYSTEM, *_list_program(), *map(str, visible))
    )
    prefix: list[str] = []
    if found.in_force is InForce.BUBBLEWRAP:
        prefix = _make_bubblewrap(graphics=graphics, network=network)
        if threading.current_thread() is threading.main_thread():
            prefix.append("--die-with-parent")
        within = [path for path in visible if hidden is not None and _lies_in(path, hidden)]
        prefix += _bind("--ro-bind-try", (path for path in visible if path not in within))
        if hidden is not None and covered:
            prefix += ["--tmpfs", str(hidden.resolve())]
        prefix += _bind("--ro-bind-try", (path for path in within if hidden and not _lies_in(hidden, path)))
        prefix += _bind("--bind", writable)
        prefix += ["--remount-ro", "/", "--"]
    if found.filters_calls:
        prefix += [sys.executable, "-S", "-P", "-m", "client.training.restrict"]
        prefix += ["--unix"] if graphics else []
        if found.in_force is InForce.LANDLOCK:
            if covered:
                raise TrainingError(
                    f"{hidden}: Landlock cannot hide the site's folder within folders that the process reads; move it "
                    "elsewhere, or install bubblewrap"
                )
            prefix += _list_rights(visible, writable, graphics=graphics)
        prefix.append("--")
    return [*prefix, *command]


def make_environment() -> dict[str, str]:
    """Return the environment of a process that trains."""
    own = {name: value for name, value in os.environ.items() if name in _VARIABLES or name.startswith(_PREFIXES)}
    fixed = {"HOME": _SCRATCH, "USER": "trainer", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**own, **fixed, "PYTHONPATH": str(_find_root())}


def _bind(option: str, paths: Iterable[Path]) -> list[str]:
    return [word for path in paths for word in (option, str(path.absolute()), str(path.absolute()))]


def _list_rights(visible: Iterable[Path], writable: Iterable[Path], *, graphics: bool) -> list[str]:
    """List the files that a process has under Landlock, for ``client/training/restrict.py``."""
    read = [*_SYSTEM, *_LINKS, *_list_program(), *_PROCESS, *(str(path.absolute()) for path in visible)]
    write = list(_DEVICES)
    for pattern in _GRAPHICS if graphics else ():
        for path in sorted(glob.glob(pattern)):
            (write if path.startswith("/dev/") else read).append(path)
    words = ["--files", "--list", str(_find_root())]  # in which our packages are found; its other files stay closed
    make = [str(path.absolute()) for path in writable]
    for option, paths in (("--read", read), ("--write", write), ("--make", make)):
        for path in paths:
            words += [option, path]
    return words


def _make_bubblewrap(*, graphics: bool, network: bool) -> list[str]:
    words = ["bwrap", "--unshare-all", "--unshare-user", "--cap-drop", "ALL", "--new-session"]
    words += ["--share-net"] if network else []
    words += ["--proc", "/proc", "--dev", "/dev", "--size", str(_SCRATCH_BYTES), "--tmpfs", _SCRATCH]
    words += ["--setenv", "TMPDIR", _SCRATCH]
    for link in map(Path, _LINKS):
        if link.is_symlink():
            words += ["--symlink", os.readlink(link), str(link)]
        else:
            words += ["--ro-bind-try", str(link), str(link)]
    for path in (*_SYSTEM, *_list_program()):
        words += ["--ro-bind-try", path, path]
    for pattern in _GRAPHICS if graphics else ():
        for path in sorted(glob.glob(pattern)):
            words += ["--dev-bind-try" if path.startswith("/dev/") else "--ro-bind-try", path, path]
    return words


@functools.cache
def _list_program() -> tuple[str, ...]:
    """List the folders of this program: the interpreter, its libraries, and our packages alone."""
    folders = {Path(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    folders |= {Path(entry) for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")}
    folders |= {Path(each.__path__[0]) for each in (client, models, privacy)}
    found = {path for each in folders for path in (each.absolute(), each.resolve()) if path.is_dir()}
    outer = {path for path in found if not any(path != each and _lies_in(path, each) for each in found)}
    return tuple(sorted(str(path) for path in outer if not _lies_in(path, Path("/usr"))))


def _find_root() -> Path:
    """Return the folder that holds our packages."""
    return Path(client.__path__[0]).absolute().parent


def _lies_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
