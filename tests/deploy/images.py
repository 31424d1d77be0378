"""Run the images of a bundle as Docker Compose would, where no container engine can: with bubblewrap and ``ip netns``.

What a container of these files is, and what stands for it:

====================  ================================================================================================
file system           the image's layers, unpacked; read-only, with a new ``/tmp``; volumes and binds of the service
command, environment  the service's, or else the image's own
user                  10001, without other groups, capabilities, or a way to get any (``no_new_privs``)
processes             a namespace of their own, with an init
network               a network namespace (``tests/deploy/namespaces.py``); names of services stand in ``/etc/hosts``
not there             limits of memory and processors, the engine's own filter of system calls, restarts
====================  ================================================================================================
"""

import json
import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.gateway import find_missing
from tests.deploy.namespaces import OBSTACLE, Net

TOP = Path(__file__).parents[2]
USER = 10001
BUNDLE = os.environ.get("CONSILIUM_BUNDLE", "")
"""A folder that ``scripts/make-offline-bundle OUT --images`` has made."""


def find_image_obstacle() -> str:
    """Say why no image can be run here; empty if some can."""
    if not BUNDLE:
        return "CONSILIUM_BUNDLE names no bundle with images (make images-check makes one)"
    return OBSTACLE or find_missing("bwrap", "setpriv")


def read_service(file: str, name: str) -> dict[str, Any]:
    """Read a service of a Compose file, with the defaults of its variables."""
    service: dict[str, Any] = _interpolate(yaml.safe_load((TOP / file).read_text())["services"][name])
    return service


def _interpolate(value: Any) -> Any:
    """Put in the defaults, after the YAML is parsed, as Compose does: one that is empty is an empty word."""
    if isinstance(value, str):
        return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value).replace("$$", "$")
    if isinstance(value, dict):
        return {key: _interpolate(each) for key, each in value.items()}
    return [_interpolate(each) for each in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Image:
    """An unpacked image: its file system and its configuration."""

    root: Path
    config: dict[str, Any]

    @classmethod
    def unpack(cls, archive: Path, root: Path) -> "Image":
        """Unpack an archive of ``docker save`` into the new folder ``root``, as root."""
        root.mkdir()
        with tarfile.open(archive) as image:
            (described,) = json.loads(_read(image, "manifest.json"))
            for layer in described["Layers"]:
                with tarfile.open(fileobj=image.extractfile(layer)) as files:
                    _put_over(files, root)
            return cls(root, json.loads(_read(image, described["Config"]))["config"])

    @property
    def environment(self) -> dict[str, str]:
        return dict(each.split("=", 1) for each in self.config["Env"])

    @property
    def command(self) -> list[str]:
        return [*(self.config.get("Entrypoint") or []), *(self.config.get("Cmd") or [])]


def _read(image: tarfile.TarFile, name: str) -> bytes:
    found = image.extractfile(name)
    assert found is not None
    return found.read()


def _put_over(files: tarfile.TarFile, root: Path) -> None:
    """Put a layer over those below: ``.wh.NAME`` in it takes NAME away."""
    members = []
    for member in files:
        path = root / member.name
        if path.name.startswith(".wh."):
            gone = path.with_name(path.name.removeprefix(".wh."))
            shutil.rmtree(gone) if gone.is_dir() and not gone.is_symlink() else gone.unlink(missing_ok=True)
        else:
            members.append(member)
    files.extractall(root, members, numeric_owner=True, filter="fully_trusted")  # noqa: S202 - our own images


class Container:
    """One service of a Compose file in its image; its volumes are in ``volumes``.

    Args:
        service: as :func:`read_service` reads it.
        image: it runs in this one.
        net: the namespaces.
        machine: its namespace.
        volumes: the folder of the volumes that the service names, and of what ``binds`` names.
        hosts: names and addresses that it knows.
        binds: for a bind mount's target, the folder that is mounted.
    """

    def __init__(
        self,
        service: dict[str, Any],
        image: Image,
        net: Net,
        machine: str,
        volumes: Path,
        hosts: dict[str, str],
        binds: dict[str, Path] | None = None,
    ) -> None:
        assert service["user"] == f"{USER}:{USER}"
        assert service["read_only"]
        self.service, self.image, self.net, self.machine = service, image, net, machine
        self._hosts = volumes / f"{machine}.hosts"
        self._hosts.write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))
        (image.root / "etc" / "hosts").touch()  # as an engine does, as every mount point
        self._mounts: list[str] = []
        for each in service["volumes"]:
            self._mount(each, volumes, binds or {})

    def _mount(self, described: Any, volumes: Path, binds: dict[str, Path]) -> None:
        if isinstance(described, str):
            name, target = described.split(":")
            source, read_only = volumes / name, False
        else:
            target, read_only = described["target"], described.get("read_only", False)
            inside = described.get("volume", {}).get("subpath", "")
            source = binds[target] if described["type"] == "bind" else volumes / described["source"] / inside
        if not source.exists():
            source.mkdir(mode=0o700)
            os.chown(source, USER, USER)
        (self.image.root / target.removeprefix("/")).mkdir(parents=True, exist_ok=True)
        self._mounts += ["--ro-bind" if read_only else "--bind", str(source), target]

    def make_command(self, *words: str) -> list[str]:
        """Make the command line that runs ``words``, or else the service's own command, in its image."""
        command = list(words) or self.service.get("command") or self.image.command
        if not words and self.image.config.get("Entrypoint") and self.service.get("command"):
            command = [*self.image.config["Entrypoint"], *self.service["command"]]
        environment = {**self.image.environment, **self.service.get("environment", {})}
        sets = [word for name, value in environment.items() for word in ("--setenv", name, str(value))]
        box = ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"]
        box += ["--new-session", "--cap-drop", "ALL", "--ro-bind", str(self.image.root), "/", "--proc", "/proc"]
        box += ["--dev", "/dev", "--tmpfs", "/tmp", *self._mounts]  # noqa: S108 - the container's own
        box += ["--ro-bind", str(self._hosts), "/etc/hosts", "--chdir", self.image.config["WorkingDir"] or "/"]
        user = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--"]
        return self.net.enter(self.machine, *user, *box, "--clearenv", *sets, "--", *command)

    def run(self, *words: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a command beside the service's own, as ``docker compose exec`` or ``run`` does."""
        return subprocess.run(
            self.make_command(*words), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def get(self, *words: str) -> str:
        """Run a command that must succeed; what it wrote to stdout."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def is_healthy(self) -> bool:
        """Whether the service's own health check, or its image's, succeeds."""
        test = self.service.get("healthcheck", {}).get("test") or self.image.config["Healthcheck"]["Test"]
        return self.run(*test[1:]).returncode == 0
