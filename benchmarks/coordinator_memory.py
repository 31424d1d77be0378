"""Measure the coordinator's memory in a round above idle: a real coordinator, real uploads, light sites.

``python -m benchmarks.coordinator_memory --width 2000 3 8``: studies of a model with two hidden layers of this width,
with 3 and with 8 sites, one after the other.

* ``idle_mb``: ``consilium up``, which receives the updates and serves the sums, SuperLink and the study's run
  (ServerApp) together, while the run waits for its sites' first answers; proportional set sizes.
* ``up_growth_mb``, ``superlink_growth_mb``, ``run_growth_mb``: how far each grew from then to the study's end, at most,
  as the kernel keeps it. All sealed updates are uploaded at once, and every site downloads the aggregate.
* ``growth_mb``: their sum, no less than the three grew at any one moment.
* ``superlink_alone_mb``: the SuperLink before a study was launched.

A mapped file counts as far as it was read.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import click

from benchmarks.memory import Growth, resident_mb
from benchmarks.running_federation import COORDINATOR, Running, wait_for
from benchmarks.small_study import without_privacy
from privacy.command_line import say
from privacy.study import Terms
from server.federation.config import TimeoutsConfig
from server.study.journal import Journal
from server.study.notes import RequestSent

WIDTH: Final = 3159
"""Two hidden layers of this width have ten million parameters."""
_PATIENCE: Final = TimeoutsConfig(join_s=3600, seal_s=3600, release_s=3600, ask_again_s=60)
_STUDY_S: Final = 3600.0
_ONLINE_S: Final = 600.0
_SETTLED_S: Final = 3.0


@dataclass(frozen=True)
class CoordinatorMemory:
    """The measured sizes in MiB, and the seconds of the study."""

    superlink_alone_mb: float
    idle_mb: float
    growth_mb: float
    up_growth_mb: float
    superlink_growth_mb: float
    run_growth_mb: float
    seconds: float


def coordinator_memory(folder: Path, sites: int, width: int = WIDTH) -> CoordinatorMemory:
    """Measure a study of one round with ``sites`` sites, in the empty folder ``folder``.

    Raises:
        AssertionError: the study stopped.
    """
    names = tuple(f"site{number:02d}" for number in range(sites))
    terms = _terms(sites, width)
    federation = Running(folder, names, _PATIENCE)
    federation.register_data(terms)
    gate = folder / "gate"
    try:
        federation.start(COORDINATOR)
        with _light_sites(folder, gate, names) as light:
            wait_for("all light sites to be online", lambda: _online(federation, light) == sites, _ONLINE_S)
            return _measured(federation, terms, gate)
    finally:
        federation.end()


def _measured(federation: Running, terms: Terms, gate: Path) -> CoordinatorMemory:
    up, superlink = [federation.pid(COORDINATOR)], [federation.superlink()]
    alone = _settled(lambda: superlink)
    study = federation.launch(terms)

    while not _asked(federation, study):
        time.sleep(0.2)
    runs = [pid for pid in federation.of_superlink() if pid not in superlink]
    idle = _settled(lambda: [*up, *superlink, *runs])
    began = time.monotonic()
    with Growth([*up, *superlink, *runs]) as growth:
        gate.touch()
        federation.finish(study, _STUDY_S)
    most_up, most_superlink, most_run = (sum(growth.each[pid] for pid in pids) for pids in (up, superlink, runs))
    return CoordinatorMemory(
        superlink_alone_mb=round(alone, 1),
        idle_mb=round(idle, 1),
        growth_mb=round(most_up + most_superlink + most_run, 1),
        up_growth_mb=round(most_up, 1),
        superlink_growth_mb=round(most_superlink, 1),
        run_growth_mb=round(most_run, 1),
        seconds=round(time.monotonic() - began, 1),
    )


def _online(federation: Running, light: subprocess.Popen[bytes]) -> int:
    federation.pid(COORDINATOR)
    assert light.poll() is None, "the light sites have ended; light.log says why"
    said = federation.consilium("sites", "--json")
    return sum(site["online"] is True for site in said.json["sites"]) if said.code == 0 else 0


def _asked(federation: Running, study: str) -> bool:
    """Return whether the run has started and has asked its sites."""
    with Journal(federation.folder / COORDINATOR / "studies" / study) as journal:
        return any(isinstance(note, RequestSent) for note in journal.read_notes())


def _settled(pids: Callable[[], list[int]]) -> float:
    end, seen = time.monotonic() + _SETTLED_S, []
    while time.monotonic() < end:
        seen.append(resident_mb(pids()))
        time.sleep(0.2)
    return median(seen[len(seen) // 2 :])


def _terms(sites: int, width: int) -> Terms:
    return without_privacy(
        model={"name": "mlp", "options": {"hidden": [width, width]}},
        training={"rounds": 1, "local_steps": 1, "sampling_rate": 0.1, "learning_rate": 0.01},
        cohort={"minimum": sites, "maximum": 32},
        evaluation={"rounds": []},
    )


@contextlib.contextmanager
def _light_sites(folder: Path, gate: Path, names: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "light.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.light_sites", folder, gate, *names],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@click.command()
@click.option("--width", type=int, default=WIDTH, show_default=True, help="of the two hidden layers")
@click.argument("sites", type=int, nargs=-1, required=True)
def main(width: int, sites: tuple[int, ...]) -> None:
    """Measure studies with these numbers of sites, and print a JSON document for each."""
    for number in sites:
        with tempfile.TemporaryDirectory() as folder:
            say(json.dumps({"sites": number, **asdict(coordinator_memory(Path(folder), number, width))}))


if __name__ == "__main__":
    main()
