"""A whole study between machines: coordinator, gateway and three sites, each in a network namespace of its own.

::

    coordinator 10.77.0.2 ---- 10.77.0.1 gateway 10.77.i.1 ---- 10.77.i.2 site i
                                      10.77.9.1:443

The gateway passes no packet on: a site reaches its port 443 and nothing else, no site another one, and only the gateway
the coordinator. The federation is made by the same commands as between hospitals: invitations, fingerprints, admission.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from benchmarks.running_federation import DELTA, Running
from benchmarks.small_study import small_terms
from tests.deploy.gateway import START
from tests.deploy.namespaces import HOST, OBSTACLE, SITES, Net
from tests.loopback import wait_for

PROGRAMS = Path(sys.executable).parent


pytestmark = [pytest.mark.skipif(bool(OBSTACLE), reason=OBSTACLE), pytest.mark.federation]


class Hospitals:
    """A federation in namespaces, made by its people's commands."""

    def __init__(self, folder: Path, net: Net) -> None:
        self.folder, self.net = folder, net
        self.federation = folder / "coordinator"
        self._running: list[subprocess.Popen[bytes]] = []
        self.study_file = folder / "study.yaml"
        self.study_file.write_text(yaml.safe_dump(small_terms().model_dump(mode="json")))

    def start(self, name: str, *words: object, **settings: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **settings}
        command = self.net.enter(name, *words)
        self._running.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        log.close()

    def consilium(self, *words: object) -> str:
        return self.net.run("coordinator", PROGRAMS / "consilium", "--dir", self.federation, *words)

    def site(self, name: str, *words: object) -> str:
        return self.net.run(name, PROGRAMS / "consilium-site", "--dir", self.folder / name, *words)

    def make(self) -> None:
        program = PROGRAMS / "consilium"
        listening = ("--gateway", "--listen", "0.0.0.0")  # noqa: S104 - of its namespace
        self.net.run("coordinator", program, "init", self.federation, "--name", "wood", "--host", HOST, *listening)
        self.start("coordinator", program, "--dir", self.federation, "up")
        self.start(
            "gateway",
            START,
            CONSILIUM_HOST=HOST,
            CONSILIUM_SUPERLINK="10.77.0.2:9092",
            CONSILIUM_CONTROL="10.77.0.2:9093",
            CONSILIUM_FILES=str(self.federation / "gateway"),
            CONSILIUM_LISTEN=f"{HOST}:443",
            CONSILIUM_RUN=str(self.folder / "nginx"),
            PATH=f"{os.environ['PATH']}:/usr/sbin",
        )
        wait_for("the gateway", lambda: self.net.can_connect("ash", HOST, 443), 60)
        wait_for("the coordinator", (self.federation / "control.sock").exists, 60)

    def join(self, name: str) -> str:
        """Join by an invitation, as an engineer and an operator on the telephone do; the site's identity key."""
        init = (PROGRAMS / "consilium-site", "init", self.folder / name, "--name", name, "--device", "cpu")
        key = self.net.run(name, *init).strip()
        invitation = self.consilium("invite", name, "--contact", "A. Nurse, 2201").strip()
        words = (PROGRAMS / "consilium-site", "--dir", self.folder / name, "join", invitation, "--wait", "120")
        joining = subprocess.Popen(
            self.net.enter(name, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert joining.stdout is not None
        fingerprint = joining.stdout.readline().strip()
        if fingerprint:
            self.consilium("admit", name, "--fingerprint", fingerprint)
        _, err = joining.communicate(timeout=180)
        assert joining.returncode == 0, err
        return key

    def prepare(self, name: str, number: int, keys: dict[str, str]) -> None:
        for peer, key in keys.items():
            if peer != name:
                self.site(name, "peer", "trust", peer, key)
        path = self.folder / name / "policy.yaml"
        policy = yaml.safe_load(path.read_text())
        policy["unprotected_test_patients"] = True
        policy["automatic"] = [{"name": "small-studies", "studies": ["small"], "epsilon_at_most": 3}]
        path.write_text(yaml.safe_dump(policy))
        train, test = Running(self.folder, SITES, made=True).write_tables(name, number)
        self.site(name, "data", "add", self.study_file, "--train", train, "--test", test)
        granted = ("--epsilon", "6", "--delta", str(DELTA), "--typical", self.study_file)
        self.site(name, "budget", "grant", "small", *granted)
        self.start(name, PROGRAMS / "consilium-site", "--dir", self.folder / name, "up")

    def close(self) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def hospitals() -> Iterator[Hospitals]:
    folder = Path(tempfile.mkdtemp(prefix="net-"))
    folder.chmod(0o711)
    net = Net()
    hospitals = Hospitals(folder, net)
    try:
        hospitals.make()
        with ThreadPoolExecutor(3) as pool:
            keys = dict(zip(SITES, pool.map(hospitals.join, SITES), strict=True))
            list(pool.map(lambda each: hospitals.prepare(each[1], each[0], keys), enumerate(SITES)))
        yield hospitals
    finally:
        hospitals.close()
        net.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_sites_reach_port_443_of_the_gateway_and_nothing_else(hospitals: Hospitals) -> None:
    net = hospitals.net
    listening = net.run("gateway", "ss", "-ltnH").split("\n")
    assert {line.split()[3] for line in listening if line.strip()} == {f"{HOST}:443"}
    for name in SITES:
        assert net.can_connect(name, HOST, 443)
        assert not net.run(name, "ss", "-ltnH").strip()  # a site listens nowhere
        for host, port in ((HOST, 9092), ("10.77.0.1", 443), ("10.77.0.2", 9092), ("10.77.0.2", 9093)):
            assert not net.can_connect(name, host, port)
    assert not net.can_connect("ash", "10.77.2.2", 443)
    assert net.can_connect("gateway", "10.77.0.2", 9092)


def test_gateways_machine_reaches_no_api_of_flower_but_fleet(hospitals: Hospitals) -> None:
    """Whoever takes the gateway's machine still does not control the SuperLink."""
    code = f"""
import httpx, ssl
context = ssl.create_default_context(cafile={str(hospitals.federation / "gateway" / "ca.crt")!r})
context.check_hostname = False
with httpx.Client(verify=context, trust_env=False) as client:
    for path in ("/v1/control/list-runs", "/v1/runtime/pull-object", "/docs"):
        assert client.post("https://10.77.0.2:9092" + path, content=b"").status_code == 404, path
    assert client.get("https://10.77.0.2:9092/health").status_code == 200
    assert client.post("https://10.77.0.2:9092/v1/fleet/activate-node", content=b"").status_code == 401
"""
    hospitals.net.run("gateway", sys.executable, "-c", code)


def test_study_between_namespaces_ends_with_the_same_model_at_every_site(hospitals: Hospitals) -> None:
    def are_online() -> bool:
        sites = json.loads(hospitals.consilium("sites", "--json"))["sites"]
        return len(sites) == 3 and all(site["online"] for site in sites)

    wait_for("the sites", are_online, 120)
    study = json.loads(hospitals.consilium("study", "launch", hospitals.study_file, "--json"))["study"]
    end = time.monotonic() + 300
    while True:
        (shown,) = json.loads(hospitals.consilium("study", "list", "--json"))["studies"]
        if shown["standing"] != "open":
            break
        assert time.monotonic() < end, shown
        time.sleep(1)
    assert shown["standing"] == "finished"

    def read_digest(name: str) -> str | None:
        card = hospitals.folder / name / "studies" / study / "release" / "card.json"
        return str(json.loads(card.read_bytes())["model"]["sha256"]) if card.exists() else None

    wait_for("every site's release", lambda: all(map(read_digest, SITES)), 60)
    assert len({read_digest(name) for name in SITES}) == 1
    assert not (hospitals.federation / "studies" / study / "release").exists()


def test_removed_site_is_refused_within_seconds(hospitals: Hospitals) -> None:
    hospitals.consilium("remove", "cedar")
    log = hospitals.folder / "cedar.log"
    before = log.stat().st_size

    def is_refused() -> bool:
        said = log.read_bytes()[before:].decode()
        return "does not accept" in said or "refuses" in said or "does not know" in said

    wait_for("the site to be told", is_refused, 60)
