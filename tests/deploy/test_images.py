"""A study from the built images: each service of the Compose files in its image, in a network namespace of its own.

``make images-check`` builds the images and runs this. The coordinator and its gateway are the services of
``docker-compose.yml``, each hospital is ``compose.site.yml``; what stands for a container is in
``tests/deploy/images.py``.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.running_federation import DELTA
from benchmarks.small_study import small_terms, write_patients
from tests.deploy.images import BUNDLE, USER, Container, Image, find_image_obstacle, read_service
from tests.deploy.namespaces import HOST, SITES, Net
from tests.loopback import wait_for

OBSTACLE = find_image_obstacle()
pytestmark = [pytest.mark.skipif(bool(OBSTACLE), reason=OBSTACLE), pytest.mark.federation]
COMMAND = ("consilium", "--dir", "/data/federation")
SITE = ("consilium-site", "--dir", "/data/site")
ROUNDS = 3


class Composed:
    """A coordinator, a gateway and three hospitals, each from its image; close it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.net = Net()
        self._running: list[subprocess.Popen[bytes]] = []
        images = {
            name: Image.unpack(Path(BUNDLE) / "images" / f"consilium-{name}.tar", folder / f"root-{name}")
            for name in ("coordinator", "site", "gateway")
        }
        volumes = folder / "volumes"
        volumes.mkdir()
        coordinator = ("docker-compose.yml", "coordinator"), images["coordinator"], "coordinator"
        prepare = ("docker-compose.yml", "prepare"), images["coordinator"], "coordinator"
        self.prepare = self._make(*prepare, volumes, {})
        self.coordinator = self._make(*coordinator, volumes, {})
        self.prepare.get()
        names = {"coordinator": "10.77.0.2"}
        self.gateway = self._make(("docker-compose.yml", "gateway"), images["gateway"], "gateway", volumes, names)
        self.sites = {}
        for name in SITES:
            own, records = folder / name, folder / name / "records"
            records.mkdir(parents=True)
            binds, names = {"/records": records}, {"gateway": HOST}
            self.sites[name] = self._make(("compose.site.yml", "site"), images["site"], name, own, names, binds)

    def _make(
        self,
        service: tuple[str, str],
        image: Image,
        machine: str,
        volumes: Path,
        names: dict[str, str],
        binds: dict[str, Path] | None = None,
    ) -> Container:
        hosts = {"localhost": "127.0.0.1", **names}
        return Container(read_service(*service), image, self.net, machine, volumes, hosts, binds)

    def start(self, name: str, container: Container) -> Path:
        """Start a service with its own command; the file of what it says."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as file:
            self._running.append(subprocess.Popen(container.make_command(), stdout=file, stderr=file))
        return log

    def start_coordinator(self) -> None:
        self.start("coordinator", self.coordinator)
        wait_for("the coordinator's own health check", self.coordinator.is_healthy, 120)
        ports = self.gateway.service["sysctls"]
        for name, value in ports.items():
            self.net.run("gateway", "sysctl", "-qw", f"{name}={value}")
        log = self.start("gateway", self.gateway)
        wait_for("the gateway", lambda: "is published at 443" in log.read_text(), 60)

    def join(self, name: str) -> str:
        """Join by an invitation, as an engineer and an operator on the telephone do; the site's identity key."""
        site = self.sites[name]
        key = site.get("consilium-site", "init", "/data/site", "--name", name).strip()
        invitation = self.coordinator.get(*COMMAND, "invite", name, "--contact", "A. Nurse, 2201").strip()
        joining = subprocess.Popen(
            site.make_command(*SITE, "join", invitation),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert joining.stdout is not None
        if not (fingerprint := joining.stdout.readline().strip()):
            raise AssertionError(joining.communicate(timeout=60)[1])
        self.coordinator.get(*COMMAND, "admit", name, "--fingerprint", fingerprint)
        _, said = joining.communicate(timeout=180)
        assert joining.returncode == 0, said
        return key

    def prepare_site(self, name: str, number: int, keys: dict[str, str]) -> None:
        """Pin the peers, allow the study, register records, and grant a budget."""
        site, records = self.sites[name], self.folder / name / "records"
        for peer, key in keys.items():
            if peer != name:
                site.get(*SITE, "peer", "trust", peer, key)
        path = self.folder / name / "site" / "site" / "policy.yaml"
        policy = yaml.safe_load(path.read_text())
        policy["unprotected_test_patients"] = True
        policy["automatic"] = [{"name": "small-studies", "studies": ["small"], "epsilon_at_most": 3}]
        path.write_text(yaml.safe_dump(policy))
        shutil.copy(self.folder / "study.yaml", records)
        write_patients(records / "train.csv", 60 + 10 * number, f"{name}-a", seed=number)
        write_patients(records / "test.csv", 30, f"{name}-b", seed=100 + number)
        files = ("--train", "/records/train.csv", "--test", "/records/test.csv")
        site.get(*SITE, "data", "add", "/records/study.yaml", *files)
        granted = ("--epsilon", "6", "--delta", str(DELTA), "--typical", "/records/study.yaml")
        site.get(*SITE, "budget", "grant", "small", *granted)

    def close(self) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.net.close()


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    folder = Path(tempfile.mkdtemp(prefix="images-"))
    folder.chmod(0o711)
    composed = Composed(folder)
    try:
        yield composed
    finally:
        composed.close()
        for log in sorted(folder.glob("*.log")):  # shown if the test fails
            sys.stderr.write(f"{log.name}\n{log.read_text()[-2000:]}\n")
        shutil.rmtree(folder, ignore_errors=True)


def test_study_of_three_rounds_from_the_images_ends_with_one_release(composed: Composed) -> None:
    terms = small_terms(training={"rounds": ROUNDS}, evaluation={"rounds": [ROUNDS]})
    written = yaml.safe_dump(terms.model_dump(mode="json"))
    for folder in (composed.folder, composed.folder / "volumes" / "coordinator"):
        (folder / "study.yaml").write_text(written)
    composed.start_coordinator()
    keys = {name: composed.join(name) for name in SITES}
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda each: composed.prepare_site(each[1], each[0], keys), enumerate(SITES)))
    for name, site in composed.sites.items():  # in this thread: bubblewrap ends with the one that started it
        composed.start(name, site)

    def ask(*words: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(composed.coordinator.get(*COMMAND, *words, "--json"))
        return answer

    wait_for("the sites", lambda: [each["online"] for each in ask("sites")["sites"]] == [True] * 3, 180)
    for name, site in composed.sites.items():
        assert site.is_healthy(), name
        assert f"uid={USER}" in site.get("id")
    study = str(ask("study", "launch", "/data/study.yaml")["study"])
    end = time.monotonic() + 600
    while True:
        (shown,) = ask("study", "list")["studies"]
        if shown["standing"] != "open":
            break
        assert time.monotonic() < end, shown
        time.sleep(2)
    assert shown["standing"] == "finished", shown

    homes = {name: composed.folder / name / "site" / "site" for name in SITES}
    cards = {name: home / "studies" / study / "release" / "card.json" for name, home in homes.items()}
    wait_for("every site's release", lambda: all(card.exists() for card in cards.values()), 120)
    models = {json.loads(card.read_bytes())["model"]["sha256"] for card in cards.values()}
    assert len(models) == 1
    for name, site in composed.sites.items():
        entries = json.loads(site.get(*SITE, "ledger", "list", "--json"))["entries"]
        paid = [each["body"]["round"] for each in entries if each["kind"] == "reserve"]
        assert len([each for each in paid if each is not None]) >= ROUNDS, entries
        log = (composed.folder / f"{name}.log").read_text()
        assert "Landlock" in log or "bubblewrap" in log, log
