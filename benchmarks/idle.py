"""Measure what an idle federation costs, and how soon a site picks up a waiting message.

``python -m benchmarks.idle [--sites N] [--seconds S] [--json]``. Real processes on this machine, with their own
commands: a coordinator, its gateway (nginx, started by ``deploy/gateway/start``), sites that have joined by
invitation. No study is open.

* CPU is what the processes have used themselves, from ``/proc``, so other work on the machine does not count. It is
  measured after all sites have been idle for a while, in percent of one core: each process of the coordinator, its
  sum, the gateway, and the sites' mean and worst.
* Pick-up: afterwards a study is sent to three sites at a time, each of which has been idle until then. Counted from the
  note that a request was sent to the line in the site's log that says what it has decided: it refuses at once, as it
  knows none of its peers. So sending, the way through the gateway and the decision are in it. ``answer_s`` counts to
  the note that the answer was verified at the coordinator.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final, NamedTuple

import click
import yaml

from benchmarks.running_federation import Said, children, command, processes_with, wait_for
from benchmarks.small_study import small_terms
from privacy.command_line import print_json, print_table, say
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.study.journal import Journal
from server.study.notes import ReplyReceived, RequestSent
from server.superlink.process import find_free_port
from server.superlink.process_tags import stop_tagged

_MARK: Final = "CONSILIUM_TEST"
_PROGRAMS: Final = Path(sys.executable).parent
_START: Final = Path(__file__).parents[1] / "deploy" / "gateway" / "start"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_ONLINE_S: Final = 300.0
_TOGETHER: Final = 3
"""How many sites a study of the pick-up has, the fewest that one may have."""


class IdleFederation:
    """A coordinator behind a gateway, and sites that have joined through it."""

    def __init__(self, folder: Path, sites: int) -> None:
        self.folder, self.names = folder, tuple(f"site{number:02d}" for number in range(sites))
        self._port = find_free_port()
        config = CoordinatorConfig(
            federation="idle",
            host="localhost",
            port=self._port,
            superlink_port=find_free_port(),
            gateway=True,
            control_port=find_free_port(),
        )
        Federation.create(folder / "coordinator", config)
        folder.chmod(0o711)  # nginx started by root works as another user
        self._gateway = {
            "CONSILIUM_HOST": "localhost",
            "CONSILIUM_SUPERLINK": f"localhost:{config.superlink_port}",
            "CONSILIUM_CONTROL": f"localhost:{config.control_port}",
            "CONSILIUM_FILES": str(folder / "coordinator" / "gateway"),
            "CONSILIUM_LISTEN": f"127.0.0.1:{self._port}",
            "CONSILIUM_RUN": str(folder / "nginx"),
            "CONSILIUM_CONNECTIONS": "256",  # all sites have one address here
            "CONSILIUM_ENROLMENT_RATE": "50",
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start coordinator and gateway, let every site join, start them, and wait until all are online."""
        self._start("coordinator", [_PROGRAMS / "consilium", "--dir", self.folder / "coordinator", "up"])
        self._start("gateway", [_START], **self._gateway)
        wait_for("the gateway", self._answers)
        wait_for("the coordinator", self._is_up, _ONLINE_S)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._join, self.names))
        for name in self.names:
            self._start(name, [_PROGRAMS / "consilium-site", "--dir", self.folder / name, "up"])
        wait_for("all sites to be online", self._are_online, _ONLINE_S)

    def _start(self, name: str, words: list[Path | str], **settings: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {_MARK: str(self.folder), "OMP_NUM_THREADS": "1"} | settings,
            )

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return False

    def _is_up(self) -> bool:
        return command("consilium", "--dir", self.folder / "coordinator", "sites", "--json").code == 0

    def _join(self, name: str) -> None:
        invitation = self.consilium("invite", name, "--contact", "nobody").out.strip()
        joining = subprocess.Popen(
            [_PROGRAMS / "consilium-site", "--dir", self.folder / name, "join", invitation],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert joining.stdout is not None
        if fingerprint := joining.stdout.readline().strip():
            self.consilium("admit", name, "--fingerprint", fingerprint)
        _, said = joining.communicate(timeout=240)
        assert joining.returncode == 0, said

    def consilium(self, *words: str | Path) -> Said:
        """Run the coordinator's command, which must succeed."""
        said = command("consilium", "--dir", self.folder / "coordinator", *words)
        assert said.code == 0, said.err
        return said

    def _are_online(self) -> bool:
        time.sleep(2)
        found = self.consilium("sites", "--json").json["sites"]
        return len(found) == len(self.names) and all(site["online"] is True for site in found)

    def end(self) -> None:
        """End every process."""
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
        stop_tagged(_MARK, str(self.folder))
        for process in self.processes.values():
            process.wait()

    def find_processes(self) -> dict[int, str]:
        """Return every process of the federation: its number, and whose part it is."""
        found = {process.pid: name for name, process in self.processes.items()}
        for pid in processes_with(_MARK, str(self.folder)):
            if pid not in found:
                found[pid] = _name_process(pid, found.get(_read_parent(pid), ""))
        for pid in children(self.processes["gateway"].pid):
            found |= dict.fromkeys([pid, *children(pid)], "gateway")  # nginx clears its environment
        return found


def _name_process(pid: int, parent: str) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if "server.superlink.program" in words:
            return "SuperLink (Flower)"
        if any("superexec" in word for word in words):
            return "process starter (Flower)"
    return parent if parent != "coordinator" else "other processes of the coordinator"


def _read_parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _read_cpu_s(pid: int) -> float:
    """Return the seconds of processor time that a process has used, without its children's; 0 if it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0


def measure_cpu(federation: IdleFederation, seconds: float) -> dict[str, float]:
    """Measure for ``seconds`` what every part of an idle federation uses, in percent of one core."""
    processes = federation.find_processes()
    before, began = {pid: _read_cpu_s(pid) for pid in processes}, time.monotonic()
    time.sleep(seconds)
    wall = time.monotonic() - began
    used = dict.fromkeys(processes.values(), 0.0)
    for pid, name in processes.items():
        used[name] += max(0.0, _read_cpu_s(pid) - before[pid]) / wall * 100
    sites = [used.pop(name) for name in federation.names]
    gateway = used.pop("gateway")
    parts = {("consilium up" if name == "coordinator" else name): value for name, value in used.items()}
    found = {**parts, "coordinator in all": sum(parts.values()), "gateway": gateway}
    return {
        name: round(value, 3)
        for name, value in (found | {"a site": fmean(sites), "the busiest site": max(sites)}).items()
    }


class PickUp(NamedTuple):
    """How long one idle site took from the request to its decision, and to the verified answer, in seconds."""

    decided_s: float
    answered_s: float


def measure_pick_up(federation: IdleFederation) -> list[PickUp]:
    """Send a study to idle sites, three at a time; one figure for each site."""
    found: list[PickUp] = []
    for first in range(0, len(federation.names) - _TOGETHER + 1, _TOGETHER):
        terms = small_terms().model_copy(update={"name": f"pick-up-{first}"})
        file = federation.folder / f"{terms.name}.yaml"
        file.write_text(yaml.safe_dump(terms.model_dump(mode="json")))
        sites = federation.names[first : first + _TOGETHER]
        words = [word for name in sites for word in ("--site", name)]
        study = federation.consilium("study", "launch", file, *words).out.strip()
        what = f"the answers of {', '.join(sites)}"
        found += wait_for(what, partial(_read_answers, federation, study), _ONLINE_S)
    return found


def _read_answers(federation: IdleFederation, study: str) -> list[PickUp]:
    """Return what is known once all sites of a study have answered; until then nothing."""
    folder = federation.folder / "coordinator" / "studies" / study
    if not (folder / "journal.sqlite").exists():
        return []
    asked: dict[str, float] = {}
    answered: dict[str, float] = {}
    with Journal(folder) as journal:
        for note in journal.read_notes():
            if isinstance(note, RequestSent):
                asked.setdefault(note.site, note.time)
            elif isinstance(note, ReplyReceived):
                answered.setdefault(note.site, note.time)
    if len(answered) < _TOGETHER:
        return []
    decided = {name: _read_decision(federation.folder / name / "log" / "site.log", study) for name in answered}
    return [PickUp(decided[name] - asked[name], answered[name] - asked[name]) for name in answered]


def _read_decision(log: Path, study: str) -> float:
    line = next(line for line in log.read_text().splitlines() if study in line)
    date, clock, _ = line.split(" ", 2)
    return datetime.fromisoformat(f"{date} {clock}").timestamp()


@contextmanager
def _running(sites: int) -> Iterator[IdleFederation]:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM then ends the processes that it started
    with tempfile.TemporaryDirectory(prefix="idle-") as name:
        federation = IdleFederation(Path(name), sites)
        try:
            federation.start()
            yield federation
        finally:
            federation.end()


@click.command()
@click.option("--sites", default=20, show_default=True, type=click.IntRange(3, 60), help="Sites.")
@click.option("--seconds", default=180.0, show_default=True, type=click.FloatRange(1), help="Measured seconds.")
@click.option("--settle", default=90.0, show_default=True, type=click.FloatRange(0), help="Idle seconds before.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(sites: int, seconds: float, settle: float, as_json: bool) -> None:
    """CPU of an idle federation behind its gateway, and how soon a waiting message is answered."""
    say(f"{sites} sites join ...")
    with _running(sites) as federation:
        say(f"idle for {settle + seconds:g} s ...")
        time.sleep(settle)
        used = measure_cpu(federation, seconds)
        say("studies are sent to idle sites ...")
        picked_up = measure_pick_up(federation)
    found: dict[str, Any] = {
        "sites": sites,
        "seconds": seconds,
        "cpu_percent": used,
        "pick_up_s": _summarise([each.decided_s for each in picked_up]),
        "answer_s": _summarise([each.answered_s for each in picked_up]),
    }
    if as_json:
        print_json(found)
        return
    rows = [(name, f"{value:.2f} % of one core") for name, value in used.items()]
    for name in ("pick_up_s", "answer_s"):
        rows.append((name, "median {median} s, most {most} s, of {count}".format(**found[name])))
    print_table(("", ""), rows)


def _summarise(seconds: list[float]) -> dict[str, float]:
    return {"median": round(median(seconds), 2), "most": round(max(seconds), 2), "count": len(seconds)}


if __name__ == "__main__":
    main()
