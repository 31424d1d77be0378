"""A federation of real processes: ``consilium up``, and ``consilium-site up`` for each site, in one folder.

Made by the library (its commands have a test of their own), with invented patients, on a free port, and with little
patience. Everything started here, and everything that it starts, carries a mark in its environment, by which it is
found, killed and ended; nothing else is touched.
"""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.small_study import write_patients
from client.site.folder import SiteFolder
from client.site.policy import AutomaticRule, Policy
from client.site.register_data import register_files
from privacy.canonical import compute_sha256
from privacy.control.channel import ControlClient
from privacy.errors import FederationError
from privacy.study import Placement, Terms
from server.federation.config import CoordinatorConfig, TimeoutsConfig
from server.federation.folder import Federation
from server.federation.members import Members
from server.study.events import History, StudyStatus
from server.study.journal import Journal
from server.superlink.process import find_free_port
from server.superlink.process_tags import stop_tagged

COORDINATOR: Final = "coordinator"
POPULATION: Final = "small"
EPSILON_GRANTED: Final = 60.0
DELTA: Final = 1e-3
ORDER: Final = 24
TIMEOUTS: Final = TimeoutsConfig(offline_s=2, ask_again_s=3)
_MARK: Final = "CONSILIUM_TEST"
_PROGRAMS: Final = Path(sys.executable).parent


def wait_for(what: str, ready: Callable[[], Any], timeout_s: float = 60.0, pause_s: float = 0.02) -> Any:
    """What ``ready`` returns once it is true; it is asked again after ``pause_s``."""
    end = time.monotonic() + timeout_s
    while not (value := ready()):
        assert time.monotonic() < end, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(pause_s)
    return value


def processes_with(variable: str, value: str) -> list[int]:
    """Live processes whose environment has ``variable=value``."""
    found, words = [], f"{variable}={value}".encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and words in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def children(pid: int) -> list[int]:
    """The processes that ``pid`` started and that still live."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def is_alive(pid: int) -> bool:
    """Whether ``pid`` is a process, and no zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, read."""
        return json.loads(self.out)


def command(name: str, *words: str | Path, environment: dict[str, str] | None = None) -> Said:
    """Run a console script to its end."""
    done = subprocess.run(
        [_PROGRAMS / name, *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | (environment or {}),
    )
    return Said(done.returncode, done.stdout, done.stderr)


def are_all_online(coordinator: Path) -> bool:
    """Whether the coordinator whose folder this is counts every site as online.

    Asked without the command: a process after the other would take a core from the programs that start.
    """
    try:
        sites = ControlClient.local(coordinator).call("ListSites")["items"]
    except FederationError:
        return False
    return bool(sites) and all(site["online"] for site in sites)


class Running:
    """A federation whose processes a test starts, kills and ends."""

    def __init__(
        self, folder: Path, names: tuple[str, ...], timeouts: TimeoutsConfig = TIMEOUTS, *, made: bool = False
    ) -> None:
        self.folder = folder
        self.names = names
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        if not made:
            self._make(timeouts)

    # Making ------------------------------------------------------------------------------------------------

    def _make(self, timeouts: TimeoutsConfig) -> None:
        config = CoordinatorConfig(
            federation="wood", port=find_free_port(), control_port=find_free_port(), timeouts=timeouts
        )
        federation = Federation.create(self.folder / COORDINATOR, config)
        homes = {name: self._make_site(name, number, federation) for number, name in enumerate(self.names)}
        for name, home in homes.items():
            for peer in self.names:
                if peer != name:
                    home.pin_peer(peer, homes[peer].load_identity().public)

    def _make_site(self, name: str, number: int, federation: Federation) -> SiteFolder:
        policy = Policy(
            unprotected_test_patients=True,
            without_privacy=(POPULATION,),
            open_sealing=True,
            placements=tuple(Placement),
            automatic=(AutomaticRule(name="every-study", epsilon_at_most=100, without_privacy=True),),
        )
        home = SiteFolder.create(self.folder / name, name, device="cpu", policy=policy)
        home.accept_admission(Members(federation).enrol(home.make_join_request()))
        self.write_tables(name, number)
        return home

    def write_tables(self, name: str, number: int) -> tuple[Path, Path]:
        """A site's invented patients; training and test file."""
        train = write_patients(self.folder / name / "train.csv", 60 + 10 * number, f"{name}-a", seed=number)
        test = write_patients(self.folder / name / "test.csv", 30, f"{name}-b", seed=100 + number)
        return train, test

    def register_data(self, terms: Terms) -> None:
        """Register every site's tables under the data contract of ``terms``, and grant their budget."""
        for name in self.names:
            home = SiteFolder(self.folder / name)
            register_files(home, terms.data, home.folder / "train.csv", home.folder / "test.csv")
            with home.open_ledger() as ledger:
                ledger.grant(terms.data.name, EPSILON_GRANTED, DELTA, ORDER)

    # Processes ---------------------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        """Start the coordinator or sites; without names, all of them. Their talk is in ``NAME.log``."""
        for name in names or (COORDINATOR, *self.names):
            program = "consilium" if name == COORDINATOR else "consilium-site"
            with (self.folder / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    [_PROGRAMS / program, "--dir", self.folder / name, "up"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=os.environ | {_MARK: str(self.folder), "OMP_NUM_THREADS": "1"},  # sites share the cores
                )

    def pid(self, name: str) -> int:
        """The process of the coordinator or a site; it must live."""
        process = self._processes[name]
        assert process.poll() is None, f"{name} has ended: {self.log(name)[-600:]}"
        return process.pid

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Kill a process that a test started, without a warning unless the signal is one."""
        os.kill(self.pid(name), number)
        self._processes[name].wait()

    def stop(self, name: str) -> None:
        """End a process as Ctrl-C does, and expect it to end well."""
        process = self._processes[name]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0, self.log(name)[-600:]

    def kill_coordinator(self) -> None:
        """Kill ``consilium up`` and everything that Flower runs for it."""
        left_over = self.of_superlink()
        self.kill(COORDINATOR)
        assert left_over, "there was nothing of the SuperLink to kill"
        for pid in left_over:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for("Flower's processes to die", lambda: not any(map(is_alive, left_over)))

    def superlink(self) -> int:
        """The SuperLink's process."""
        (found,) = (pid for pid in children(self.pid(COORDINATOR)) if pid in self.of_superlink())
        return found

    def of_superlink(self) -> list[int]:
        """The SuperLink and everything it started."""
        return processes_with("CONSILIUM_SUPERLINK", str(self.folder / COORDINATOR / "superlink"))

    def trainer(self, name: str) -> int:
        """The one training process of a site."""
        spawned = [
            pid
            for pid in children(self.pid(name))
            if b"client.training.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        assert len(spawned) == 1, f"expected one training process of {name}, got {spawned}"
        return spawned[0]

    def end(self) -> list[int]:
        """End everything politely, then by force; what did not end by itself."""
        for process in reversed(self._processes.values()):
            if process.poll() is None:
                process.terminate()
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
        deadline = time.monotonic() + 10
        while (left_over := processes_with(_MARK, str(self.folder))) and time.monotonic() < deadline:
            time.sleep(0.1)  # a child notices its parent's end a moment later
        stop_tagged(_MARK, str(self.folder))
        for process in self._processes.values():
            process.wait()
        return left_over

    def log(self, name: str) -> str:
        """What a process has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    # Commands ----------------------------------------------------------------------------------------------

    def consilium(self, *words: str | Path) -> Said:
        """Run the coordinator's command."""
        return command("consilium", "--dir", self.folder / COORDINATOR, *words)

    def site(self, name: str, *words: str | Path) -> Said:
        """Run a site's command."""
        return command("consilium-site", "--dir", self.folder / name, *words)

    def wait_until_online(self, timeout_s: float = 60.0) -> None:
        """Wait until the coordinator counts every site as online."""
        wait_for("all sites to be online", lambda: are_all_online(self.folder / COORDINATOR), timeout_s, 0.2)

    def launch(self, terms: Terms, *sites: str) -> str:
        """Launch ``terms`` over ``sites``, or all; the study's identifier."""
        file = self.folder / f"{terms.name}.yaml"
        file.write_text(yaml.safe_dump(terms.model_dump(mode="json")))
        invited = [word for site in sites for word in ("--site", site)]
        said = self.consilium("study", "launch", file, *invited)
        assert said.code == 0, said.err
        return said.out.strip()

    # What a study has come to ------------------------------------------------------------------------------

    def history(self, study: str) -> History:
        """The coordinator's record."""
        with Journal(self.folder / COORDINATOR / "studies" / study) as journal:
            return journal.read_history()

    def wait_for_round(self, study: str, number: int, timeout_s: float = 60.0) -> None:
        """Wait until round ``number`` is committed and the study is not over."""
        wait_for(f"round {number} of {study}", lambda: len(self.history(study).committed) >= number, timeout_s)
        assert not self.history(study).finished, f"{study} was over before the fault"

    def wait_until_training(self, study: str, name: str, number: int) -> Path:
        """Wait until a site has paid a round, which it then trains; the file of the round's draw."""
        draw = self.folder / name / "studies" / study / f"draw-{number:05d}.key"
        # The draw is durable before the round is paid: without the second look a kill may come between the two.
        wait_for(
            f"{name} to train round {number}",
            lambda: draw.exists() and draw.stat().st_size and number in self.paid(name, study)[0],
        )
        return draw

    def finish(self, study: str, timeout_s: float = 120.0) -> History:
        """Wait until the study is finished; its record.

        What goes wrong is told by the coordinator's sentence, not by a timeout.
        """

        def over() -> bool:
            with Journal(self.folder / COORDINATOR / "studies" / study) as journal:
                return journal.read_status() is not StudyStatus.OPEN

        wait_for(f"{study} to finish", over, timeout_s)
        history = self.history(study)
        assert history.finished, f"the study is stopped: {history.stopped}"
        return history

    def released(self, study: str, *sites: str) -> str:
        """The SHA-256 of the model file that ``sites``, or all, hold."""
        files = [
            self.folder / name / "studies" / study / "release" / "model.safetensors" for name in sites or self.names
        ]
        (digest,) = {compute_sha256(file.read_bytes()) for file in files}
        return digest

    def paid(self, name: str, study: str) -> tuple[list[int], list[int]]:
        """The rounds of a study that a site's ledger has reserved and settled."""

        def rounds(kind: str) -> list[int]:
            return [body["round"] for body in self.ledger(name, kind) if body["study"] == study]

        return rounds("reserve"), rounds("settle")

    def ledger(self, name: str, kind: str) -> list[dict[str, Any]]:
        """What the entries of one kind say in a site's ledger, read without our own code."""
        with contextlib.closing(sqlite3.connect(self.folder / name / "ledger.sqlite")) as state:
            entries = [json.loads(data) for (data,) in state.execute("SELECT bytes FROM entry ORDER BY number")]
        return [entry["body"] for entry in entries if entry["kind"] == kind]

    def trained(self, name: str) -> list[int]:
        """The rounds that a site's log says were trained, in order, over all studies."""
        return [number for number, _ in self._training_log(name)]

    def training_seconds(self, name: str) -> list[float]:
        """How long a site's training took in each of these rounds."""
        return [seconds for _, seconds in self._training_log(name)]

    def _training_log(self, name: str) -> list[tuple[int, float]]:
        log = self.folder / name / "log" / "training.log"
        found = re.findall(r" round (\d+): .*\bseconds (\S+)$", log.read_text() if log.exists() else "", re.M)
        return [(int(number), float(seconds)) for number, seconds in found]

    def audited(self, name: str) -> Any:
        """What ``consilium-audit verify`` finds in a site's ledger."""
        identity = SiteFolder(self.folder / name).load_identity().public.typed
        said = command(
            "consilium-audit", "verify", self.folder / name / "ledger.sqlite", "--key", identity, "--json"
        )
        assert said.code == 0, said.err
        return said.json


@contextlib.contextmanager
def running(
    folder: Path, names: tuple[str, ...], terms: Terms, timeouts: TimeoutsConfig = TIMEOUTS
) -> Iterator[Running]:
    """A federation whose sites are online and have data for ``terms``; at the end, nothing of it must be left."""
    federation = Running(folder, names, timeouts)
    federation.register_data(terms)
    try:
        federation.start()
        federation.wait_until_online()
        yield federation
    finally:
        left_over = federation.end()
    assert left_over == [], "a process outlived the one that had started it"
