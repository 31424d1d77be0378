"""The services of ``docker-compose.yml``: each one's very command and environment, as processes behind a real nginx.

In a network namespace of their own, so that they have the ports of the file. What stands for a container: ``/data`` and
``/gateway`` are folders of the test, and names of containers are the loopback interface.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.gateway import START
from tests.deploy.namespaces import OBSTACLE
from tests.loopback import wait_for

TOP = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
SETTINGS = {"CONSILIUM_HOST": "localhost", "CONSILIUM_NAME": "wood"}
pytestmark = [pytest.mark.skipif(bool(OBSTACLE), reason=OBSTACLE), pytest.mark.federation]


def interpolate(text: str) -> str:
    """What Docker Compose makes of ``${NAME:-default}`` and ``$$``."""
    found = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda each: SETTINGS.get(each[1], each[2]), text)
    return found.replace("$$", "$")


class Composed:
    """The services, started one by one; close it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services: dict[str, Any] = yaml.safe_load((TOP / "docker-compose.yml").read_text())["services"]
        self._net = f"compose{os.getpid() % 10000}"
        self._running: list[subprocess.Popen[bytes]] = []
        (folder / "bin").mkdir()
        (folder / "bin" / "consilium-health").symlink_to(TOP / "deploy" / "health")
        subprocess.run(["ip", "netns", "add", self._net], check=True)
        subprocess.run(["ip", "-n", self._net, "link", "set", "lo", "up"], check=True)

    def _place(self, service: str, text: str) -> str:
        """Put the folders and names of this machine for those of a container."""
        owner = self.services[service]["volumes"][0]
        volume = self.folder / (owner["source"] if isinstance(owner, dict) else owner.split(":")[0])
        volume.mkdir(mode=0o700, exist_ok=True)
        text = re.sub(r"\bcoordinator:(909[23])", r"localhost:\1", interpolate(text))
        return re.sub(r"/data(?=/|$)", str(volume), text)

    def command(self, service: str, *words: str) -> tuple[list[str], dict[str, str]]:
        """The command line and the environment of a service, or of other words in its place."""
        described = self.services[service]
        command = [self._place(service, each) for each in (words or described["command"])]
        own = {name: self._place(service, str(each)) for name, each in described.get("environment", {}).items()}
        path = f"{self.folder / 'bin'}:{PROGRAMS}:{os.environ['PATH']}:/usr/sbin"
        return ["ip", "netns", "exec", self._net, *command], {"PATH": path, "HOME": str(self.folder), **own}

    def run(self, service: str, *words: str) -> subprocess.CompletedProcess[str]:
        command, environment = self.command(service, *words)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)

    def start(self, service: str, *words: str, **settings: str) -> None:
        command, environment = self.command(service, *words)
        with (self.folder / f"{service}.log").open("ab") as log:
            self._running.append(subprocess.Popen(command, env={**environment, **settings}, stdout=log, stderr=log))

    def close(self) -> None:
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        subprocess.run(["ip", "netns", "delete", self._net], check=False)


@pytest.fixture
def composed() -> Iterator[Composed]:
    folder = Path(tempfile.mkdtemp(prefix="comp-"))
    folder.chmod(0o711)
    composed = Composed(folder)
    yield composed
    composed.close()
    shutil.rmtree(folder, ignore_errors=True)


def test_every_service_starts_with_its_own_command_and_a_site_joins(composed: Composed) -> None:
    for _ in range(2):  # the second time there is nothing to make
        made = composed.run("prepare")
        assert made.returncode == 0, made.stderr
    coordinator = composed.services["coordinator"]
    composed.start("coordinator")
    wait_for(
        "the coordinator's own health check",
        lambda: composed.run("coordinator", *coordinator["healthcheck"]["test"][1:]).returncode == 0,
        90,
    )
    # The subpath of the volume that the file names is where the coordinator has written the gateway's files.
    (mount,) = composed.services["gateway"]["volumes"]
    files = composed.folder / mount["source"] / mount["volume"]["subpath"]
    run = {"CONSILIUM_FILES": str(files), "CONSILIUM_RUN": str(composed.folder / "nginx")}
    composed.start("gateway", str(START), **run)
    log = composed.folder / "gateway.log"
    wait_for("the gateway", lambda: "localhost is published at 443" in log.read_text())

    invited = composed.run("coordinator", *coordinator["command"][:3], "invite", "site-a", "--contact", "A. Nurse")
    assert invited.returncode == 0, invited.stderr
    site = composed.services["site-a"]
    command, environment = composed.command("site-a", *site["command"][:3], "join", invited.stdout.strip())
    joining = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert joining.stdout is not None
    fingerprint = joining.stdout.readline().strip()
    admitted = composed.run(
        "coordinator", *coordinator["command"][:3], "admit", "site-a", "--fingerprint", fingerprint
    )
    _, said = joining.communicate(timeout=180)
    assert (admitted.returncode, joining.returncode) == (0, 0), admitted.stderr + said

    composed.start("site-a")
    log = composed.folder / "site-a.log"
    wait_for("the site", lambda: "connected to localhost:443" in log.read_text(), 90)
    assert composed.run("site-a", "consilium-health", "site", "/data/site").returncode == 0
