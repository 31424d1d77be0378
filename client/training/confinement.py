"""Confine the process that trains: no network, no keys, no ledger, only the files of one study.

====================  ==========================================================================================
in force              what the process has
====================  ==========================================================================================
bubblewrap            its own namespaces (no network, no other process), no capability, no new privilege; of the file
                      system this program, the system's libraries and the study's files, all read-only, and an empty
                      ``/tmp`` that ends with it; the graphics processor where the site trains on one
network namespace     no network; otherwise everything that the site's user may read
none                  everything that the site's user has
====================  ==========================================================================================

Rules:

* whether a confinement works is tried on the machine, once a process: a container or a kernel may forbid what is
  installed;
* of the environment a process gets a few variables by name (:func:`make_environment`): others may hold passwords;
* a folder of the site that lies within what is visible is covered by an empty one.

Not done: a filter of system calls of our own, and another user. Source: bwrap(1), unshare(1), namespaces(7).
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
from privacy.errors import SiteConfigError

_PROBE_S: Final = 20
_SCRATCH: Final = "/tmp"  # noqa: S108 - an own, empty one
_SCRATCH_BYTES: Final = 1 << 30
_SYSTEM: Final = ("/usr", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")
_LINKS: Final = ("/bin", "/lib", "/lib32", "/lib64", "/sbin")
_GRAPHICS: Final = ("/dev/nvidia*", "/dev/dri", "/sys")
_VARIABLES: Final = ("LANG", "TZ", "PATH", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONHASHSEED")
_MATHS: Final = ("OMP_", "MKL_", "OPENBLAS_", "CUDA_", "NVIDIA_", "CUBLAS_", "TORCH_", "PYTORCH_")
_PREFIXES: Final = (*_MATHS, "LC_", "CONSILIUM_")  # the last are marks, by which a process is found (docs/adr/0012)


class InForce(StrEnum):
    """What confines training."""

    BUBBLEWRAP = "bubblewrap"
    NETWORK = "network namespace"
    NONE = "none"


class Found(NamedTuple):
    """The best confinement that works here, and why there is no better one."""

    in_force: InForce
    why: str

    @property
    def sentence(self) -> str:
        """Describe it for the site's people."""
        match self.in_force:
            case InForce.BUBBLEWRAP:
                return "training is confined by bubblewrap: no network, and only this study's files"
            case InForce.NETWORK:
                return f"training has no network, but could read what the site's user may read ({self.why})"
            case InForce.NONE:
                return f"training is not confined: it has what the site's user has ({self.why})"


def choose_confinement(wanted: Confinement) -> Found:
    """Choose what confines training on this machine.

    Raises:
        SiteConfigError: ``required``, and bubblewrap does not work here.
    """
    if wanted is Confinement.NONE:
        return Found(InForce.NONE, "site.yaml says confinement: none")
    found = _find_best()
    if wanted is Confinement.REQUIRED and found.in_force is not InForce.BUBBLEWRAP:
        raise SiteConfigError(
            f"site.yaml says confinement: required, and bubblewrap does not work here: {found.why}; install and allow "
            "it, or write confinement: available"
        )
    return found


@functools.cache
def _find_best() -> Found:
    reasons: list[str] = []
    for kind in (InForce.BUBBLEWRAP, InForce.NETWORK):
        failed = _try([*_make_prefix(kind, graphics=False), "/usr/bin/env", "true"])
        if failed is None:
            return Found(kind, "; ".join(reasons))
        reasons.append(failed)
    return Found(InForce.NONE, "; ".join(reasons))


def _try(command: list[str]) -> str | None:
    """Run ``command``; return why it failed, or None."""
    name = command[0]
    if shutil.which(name) is None:
        return f"{name} is not installed"
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{name} does not start ({type(error).__name__})"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
    return f"{name} is not permitted here: {lines[-1][:200]}"


def confine(
    command: Sequence[str],
    in_force: InForce,
    visible: Iterable[Path] = (),
    hidden: Path | None = None,
    *,
    graphics: bool = False,
) -> list[str]:
    """Return the command that runs ``command`` confined.

    To be started by a thread that lives longer than the process: by the main thread, bubblewrap ends with its parent
    (prctl(2), PR_SET_PDEATHSIG). By another thread this is left out.

    Args:
        command: the program; its open descriptors and standard streams stay its own.
        in_force: how.
        visible: files that it reads, under their own paths.
        hidden: the site's folder.
        graphics: whether it needs a graphics processor.
    """
    prefix = _make_prefix(in_force, graphics=graphics)
    if in_force is InForce.BUBBLEWRAP:
        if threading.current_thread() is threading.main_thread():
            prefix.append("--die-with-parent")
        if hidden is not None and any(_lies_in(hidden, Path(path)) for path in (*_SYSTEM, *_list_program())):
            prefix += ["--tmpfs", str(hidden.resolve())]
        for path in visible:
            prefix += ["--ro-bind-try", str(path.absolute()), str(path.absolute())]
        prefix += ["--remount-ro", "/", "--"]
    return [*prefix, *command]


def make_environment() -> dict[str, str]:
    """Return the environment of a process that trains."""
    own = {name: value for name, value in os.environ.items() if name in _VARIABLES or name.startswith(_PREFIXES)}
    fixed = {"HOME": _SCRATCH, "USER": "trainer", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**own, **fixed, "PYTHONPATH": str(_find_root())}


def _make_prefix(in_force: InForce, *, graphics: bool) -> list[str]:
    if in_force is InForce.NONE:
        return []
    if in_force is InForce.NETWORK:
        return ["unshare", "--net", *([] if os.geteuid() == 0 else ["--user", "--map-current-user"])]
    words = ["bwrap", "--unshare-all", "--unshare-user", "--cap-drop", "ALL", "--new-session"]
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
