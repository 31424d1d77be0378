"""The quick paths of the tutorials, line by line, by people at machines in network namespaces of their own.

Coordinator and gateway are on one machine, as the coordinator's page has it; each hospital is on another, and reaches
port 443 alone. Only names are replaced. The line that installs the program is left out: it is installed already, and
``test_offline_bundle.py`` runs it.
"""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from server.demo.hospitals import make_breast_cancer_hospitals
from tests.deploy.namespaces import HOST, OBSTACLE, Net
from tests.docs.pages import ROOT, lines_below
from tests.loopback import wait_for

TUTORIALS = ROOT / "docs" / "tutorials"
SITES = ("north", "south", "east", "west")
FIRST = SITES[:3]
OWN_MACHINE = {"confinement", "device", "disk"}
"""Checks whose light is this machine's: bubblewrap, memory, room."""

pytestmark = [pytest.mark.skipif(bool(OBSTACLE), reason=OBSTACLE), pytest.mark.federation]


class Person:
    """Somebody at a terminal of a machine, in their home folder; says yes to every question."""

    def __init__(self, net: Net, machine: str, home: Path, words: dict[str, str]) -> None:
        self.net, self.machine, self.home, self.words = net, machine, home, words
        self.counted = 0
        self._exports: list[str] = []
        self._background: list[int] = []
        home.mkdir()

    def type(self, line: str, says: dict[str, str] | None = None) -> str:
        """Type a line; what it wrote to stdout. ``says``: what is replaced in this line alone."""
        self.counted += 1
        for word, meant in {**self.words, **(says or {})}.items():
            line = line.replace(word, meant)
        if line.startswith("export "):
            self._exports.append(line)
            return ""
        lasting = line.endswith("&")
        script = "; ".join([*self._exports, f"{line} echo $!" if lasting else line])
        done = self._run(script)
        if lasting:
            self._background.append(int(done.split()[-1]))
        return done

    def _run(self, script: str) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
        environment = {**os.environ, "HOME": str(self.home), "PATH": path, "OMP_NUM_THREADS": "1"}
        terminal, keyboard = pty.openpty()
        try:
            process = subprocess.Popen(
                self.net.enter(self.machine, "bash", "-c", script),
                stdin=keyboard,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=self.home,
                env=environment,
            )
            os.write(terminal, b"y\n")
            out, said = process.communicate(timeout=300)
        finally:
            os.close(terminal)
            os.close(keyboard)
        assert process.returncode == 0, f"{self.machine}: {script}: {out}{said}"
        return out

    def leave(self) -> None:
        """End what runs in the background."""
        for pid in reversed(self._background):
            os.kill(pid, signal.SIGTERM)
        for pid in self._background:
            wait_for("a program to end", lambda pid=pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]


class Walk:
    """A federation made by typing what the tutorials say."""

    def __init__(self, folder: Path, net: Net) -> None:
        self.net, self.keys = net, dict[str, str]()
        self.study = folder / "study.yaml"
        terms = yaml.safe_load((ROOT / "examples" / "breast_cancer.yaml").read_text())
        terms["training"]["rounds"], terms["evaluation"] = 2, {"rounds": [2], "epsilon": "none"}
        self.study.write_text(yaml.safe_dump(terms))
        self.operator = Person(net, "gateway", folder / "operator", {"fl.example.org": HOST, "sudo ": ""})
        (self.operator.home / "bundle").symlink_to(ROOT)
        shutil.copy(self.study, self.operator.home)
        self.lines = lines_below(TUTORIALS / "coordinator.md", "In nine commands")
        self.engineers = {name: self._hire(folder, name) for name in SITES}
        self._admitting = threading.Lock()

    def _hire(self, folder: Path, name: str) -> Person:
        engineer = Person(self.net, name, folder / name, {})
        number = SITES.index(name)
        make_breast_cancer_hospitals(seed=0)[number].write(engineer.home)
        shutil.copy(self.study, engineer.home)
        return engineer

    def coordinate(self) -> None:
        """Type the coordinator's lines up to the first invitation."""
        for line in self._find(self.lines, "export", "invite"):
            self.operator.type(line)
        wait_for("the gateway", lambda: self.net.can_connect("north", HOST, 443), 180)
        wait_for("the coordinator", (self.operator.home / "federation" / "control.sock").exists, 180)

    @staticmethod
    def _find(lines: list[str], first: str, after: str) -> list[str]:
        start = next(place for place, line in enumerate(lines) if first in line)
        end = next((place for place, line in enumerate(lines) if after and after in line), len(lines))
        return lines[start:end]

    def enrol(self, name: str) -> None:
        """Invite, join and admit, as two people on the telephone do."""
        engineer, ours = self.engineers[name], {"north": name, "North": name}
        invite, admit = self._find(self.lines, "consilium invite", "consilium check")
        with self._admitting:
            invitation = self.operator.type(invite, ours).strip()
        lines = self._find(lines_below(TUTORIALS / "site.md", "In ten commands"), "export", "peer trust")
        with ThreadPoolExecutor(1) as pool:  # in the lines' order
            typed = [pool.submit(engineer.type, line, {**ours, "INVITATION": invitation}) for line in lines]
            wait_for(f"the request of {name}", lambda: typed[-1].done() or self._has_asked(name), 240)
            with self._admitting:
                shown = "" if typed[-1].done() else self.operator.type(admit, ours).strip()
            assert typed[-1].result().strip() == shown, "the fingerprint that both read"
        self.keys[name] = json.loads(engineer.type("consilium-site status --json"))["identity"]
        engineer.counted -= 1

    def _has_asked(self, name: str) -> bool:
        with self._admitting:
            shown = self.operator.type("consilium requests --json")
        time.sleep(1)  # a person looks now and then
        return any(each["name"] == name and each["fingerprint"] for each in json.loads(shown)["requests"])

    def prepare(self, name: str) -> str:
        """Type the engineer's lines after joining; what the last one, the check, says."""
        engineer, said = self.engineers[name], ""
        one, other = [each for each in FIRST if each != name][:2]
        for line in self._find(lines_below(TUTORIALS / "site.md", "In ten commands"), "peer trust", ""):
            if "consilium-site check" in line:
                wait_for(f"{name} to connect", lambda: self.is_connected(name), 180)
            if "KEY-OF-SOUTH" in line:
                says = {"south": one, "KEY-OF-SOUTH": self.keys[one]}
            elif "KEY-OF-EAST" in line:
                says = {"east": other, "KEY-OF-EAST": self.keys[other]}
            else:
                says = {"north": name}
            said = engineer.type(line, says)
        return said

    def is_connected(self, name: str) -> bool:
        """Whether the site of ``name`` runs and is connected."""
        log = self.engineers[name].home / "up.log"
        return log.exists() and "connected to" in log.read_text()

    def close(self) -> None:
        """End every program."""
        for person in (*self.engineers.values(), self.operator):
            person.leave()


def read_lights(said: str) -> dict[str, set[str]]:
    """The checks by their light, as a person reads them."""
    found: dict[str, set[str]] = {"green": set(), "amber": set(), "red": set()}
    for light, check in re.findall(r"^(green|amber|red)\s+(\S+(?: \S+)*?)\s{2,}", said, re.MULTILINE):
        found[light].add(check)
    return found


def read_settings(home: Path) -> dict[str, bytes]:
    """The files of a site that its people have made or agreed to."""
    names = ("admission.json", "data.json", "peers.json", "policy.yaml", "site.yaml", "identity.key")
    (site,) = home.glob("site-*")
    return {name: (site / name).read_bytes() for name in names}


def test_people_who_follow_the_tutorials_have_green_sites_a_decided_study_and_a_later_member() -> None:
    folder = Path(tempfile.mkdtemp(prefix="walk-"))
    folder.chmod(0o711)
    net = Net(SITES)
    walk = None
    try:
        walk = Walk(folder, net)
        walk.coordinate()
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(walk.enrol, FIRST))
            checks = dict(zip(FIRST, pool.map(walk.prepare, FIRST), strict=True))
        for name, said in checks.items():
            lights = read_lights(said)
            assert {"service", "peers", "data", "ledger", "backup", "certificate", "policy"} <= lights["green"], (
                said
            )
            assert not lights["red"], said
            assert lights["amber"] <= OWN_MACHINE, said
            assert walk.engineers[name].counted == 9, "ten commands, with the one that installs"

        before = {name: read_settings(walk.engineers[name].home) for name in FIRST}
        walk.enrol("west")
        assert "west" in walk.operator.type("consilium sites")
        assert {name: read_settings(walk.engineers[name].home) for name in FIRST} == before

        decide_about_a_study(walk)
    finally:
        if walk is not None:
            walk.close()
        net.close()
        shutil.rmtree(folder, ignore_errors=True)


def decide_about_a_study(walk: Walk) -> None:
    """Launch, as the coordinator's page says, and decide, as that of the data protection officers does."""
    (launch,) = [line for line in walk.lines if "study launch" in line]
    for name in FIRST:
        (policy,) = walk.engineers[name].home.glob("site-*/policy.yaml")
        asked = re.sub(r"(?m)^unprotected_test_patients:.*", "unprotected_test_patients: true", policy.read_text())
        policy.write_text(asked)
    study = walk.operator.type(launch + "".join(f" --site {name}" for name in FIRST)).strip()
    for name in FIRST:
        officer = walk.engineers[name]
        (folder,) = officer.home.glob("site-*")
        wait_for(f"{name} to be asked", lambda site=folder: asks_people(site, study), 180)  # type: ignore[misc]
        export, status, approve = lines_below(TUTORIALS / "data-protection-officer.md", "Decide about a study")
        officer.type(export, {"north": name})
        assert study in officer.type(status)
        assert "not protected" in officer.type(approve, {"STUDY": study})

    def has_ended() -> bool:
        (shown,) = json.loads(walk.operator.type("consilium study list --json"))["studies"]
        assert shown["standing"] in ("open", "waiting", "finished"), shown
        return bool(shown["standing"] == "finished")

    wait_for("the study to finish", has_ended, 400)
    log = [json.loads(line) for line in walk.operator.type("consilium log --json").splitlines()]
    launches = [(each["about"], each["outcome"]) for each in log if each["call"] == "Launch"]
    assert launches == [("breast-cancer", "asked"), (study, "done")]


def asks_people(site: Path, study: str) -> bool:
    """Whether the site's people are asked about the study."""
    log = (site / "log" / "site.log").read_text()
    assert "refuse" not in log, log
    return f"{study}: waits for a decision" in log
