"""Network namespaces for a coordinator, its gateway and sites (``ip netns``, as root)."""

import os
import subprocess
import sys

from tests.deploy.gateway import find_missing

SITES = ("ash", "birch", "cedar")
HOST = "10.77.9.1"
"""The gateway's address, on its loopback interface."""


def find_obstacle() -> str:
    """Say why there can be no network namespaces here; empty if there can."""
    if missing := find_missing("nginx", "ip", "ss"):
        return missing
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"no network namespaces here: {tried.stderr.strip()}"


OBSTACLE = find_obstacle()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Net:
    """The namespaces, until closed."""

    def __init__(self, sites: tuple[str, ...] = SITES) -> None:
        self._prefix = f"cons{os.getpid() % 10000}"
        self.names = ("coordinator", "gateway", *sites)
        for name in self.names:
            ip("netns", "add", self.get(name))
            ip("-n", self.get(name), "link", "set", "lo", "up")
        for number, name in enumerate(("coordinator", *sites)):
            near, far = f"{self._prefix}g{number}", f"{self._prefix}x{number}"
            ip(
                "link",
                "add",
                near,
                "netns",
                self.get("gateway"),
                "type",
                "veth",
                "peer",
                far,
                "netns",
                self.get(name),
            )
            for where, link, address in (("gateway", near, 1), (name, far, 2)):
                ip("-n", self.get(where), "address", "add", f"10.77.{number}.{address}/30", "dev", link)
                ip("-n", self.get(where), "link", "set", link, "up")
            if number:
                ip("-n", self.get(name), "route", "add", "default", "via", f"10.77.{number}.1")
        ip("-n", self.get("gateway"), "address", "add", f"{HOST}/32", "dev", "lo")

    def get(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def enter(self, name: str, *words: object) -> list[str]:
        """The command line that runs ``words`` in a namespace."""
        return ["ip", "netns", "exec", self.get(name), *map(str, words)]

    def run(self, name: str, *words: object) -> str:
        """Run a command in a namespace; what it wrote to stdout."""
        done = subprocess.run(self.enter(name, *words), capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def can_connect(self, name: str, host: str, port: int) -> bool:
        code = f"import socket; socket.create_connection(({host!r}, {port}), 1)"
        tried = subprocess.run(self.enter(name, sys.executable, "-c", code), capture_output=True, check=False)
        return tried.returncode == 0

    def close(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", self.get(name)], capture_output=True, check=False)
