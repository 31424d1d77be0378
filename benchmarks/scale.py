"""Measure how time and memory grow: with rounds, sites, parameters and patients.

``python -m benchmarks.scale [--part PART] [--json] [--write FOLDER]``. ``--write`` writes ``scale.json`` and
``scale.svg``; parts that were not measured keep what the file there says. Everything runs on this machine. 10^8
parameters take about 10 GiB; folders in memory (``--folder``) come on top.

* ``rounds``, ``sites``, ``parameters``: a federation in memory (:mod:`benchmarks.memory_federation`), one process, one
  thread: the CPU of all sites and the coordinator together for a round, with light sites that do not train.
* ``rounds``: 3 sites, 6 parameters; a point is the median of the :data:`WINDOW` rounds up to it.
* ``sites``: 6 parameters; the share of one site: the CPU of a round by the number of sites. ``parameters``: 3 sites. A
  point is the median of :data:`FEW` rounds after the first; with 10^8 parameters it is one round after the first.
* ``patients``: reading the CSV table of a hospital against its contract, one row a patient; one run a point.
* CPU seconds, since other programs change them less than they change the time on the wall. ``peak_mb`` is the most that
  the process ever had resident, libraries included; each point of ``sites``, ``parameters`` and ``patients`` is a
  process of its own.
* ``fit``: the straight line of least squares through the points: its slope, and the largest residual by the value of
  the line there. Points of ``parameters`` and ``patients`` are powers of ten: the line is nearly that through the
  largest, and the residual at the smallest is large where a fixed cost is most of it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import numpy as np

from benchmarks.memory import read_status_mb
from benchmarks.scale_plot import picture
from benchmarks.small_study import small_terms, without_privacy, write_patients
from privacy.command_line import print_json, print_table, say
from privacy.study import Terms

ROUNDS: Final = (50, 100, 200, 400, 600, 800, 1000)
SITES: Final = (3, 8, 16, 32, 64)
HIDDEN: Final = {
    10_000: [95] * 2,
    100_000: [312] * 2,
    1_000_000: [996] * 2,
    10_000_000: [3158] * 2,
    100_000_000: [7069] * 3,  # no layer is wider than 8,192
}
"""Hidden layers of these widths have about so many parameters."""
PATIENTS: Final = (10_000, 100_000, 1_000_000)
WINDOW: Final = 25
FEW: Final = 3
_LARGE: Final = 100_000_000
PARTS: Final = ("rounds", "sites", "parameters", "patients")


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this one; repeat.")
@click.option("--rounds", default=ROUNDS[-1], show_default=True, type=click.IntRange(100, 1000), help="At most.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--folder",
    default=tempfile.gettempdir(),
    show_default=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the sites' folders are made.",
)
@click.option(
    "--write", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Write both files here."
)
@click.option("--one", hidden=True, nargs=2, type=(str, int), help="A part and its size, in this process.")
def main(
    parts: tuple[str, ...],
    rounds: int,
    as_json: bool,
    folder: Path,
    write: Path | None,
    one: tuple[str, int] | None,
) -> None:
    """Time and memory against rounds, sites, parameters and patients."""
    tempfile.tempdir = str(folder)
    if one is not None:
        # on several cores large vectors are sealed and opened by processes, which process_time and VmHWM leave out
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print_json({"points": _measure(*one)})
        return
    sizes = {"rounds": (rounds,), "sites": SITES, "parameters": tuple(HIDDEN), "patients": PATIENTS}
    found = dict[str, Any]()
    for part in parts or PARTS:
        points = []
        for size in sizes[part]:
            say(f"{part}: {size:,} ...")
            points += _measure_in_a_process(part, size, folder)
        found[part] = {"points": points, "fit": fit_line([(each["size"], each["cpu_s"]) for each in points])}
    if write is not None:
        _write(write, found)
    if as_json:
        print_json(found)
        return
    for part, figures in found.items():
        print_table((part, "CPU s", "peak MiB"), [_make_row(each) for each in figures["points"]])
        fit = figures["fit"]
        say(f"slope {fit['slope']:.3g} s each, worst residual {fit['worst_residual']:.1%}")


def _write(folder: Path, found: dict[str, Any]) -> None:
    path = folder / "scale.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    merged = {part: (known | found)[part] for part in PARTS if part in known | found}
    path.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    (folder / "scale.svg").write_text(picture(merged), encoding="utf-8")


def fit_line(points: list[tuple[float, float]]) -> dict[str, float]:
    """Fit a straight line by least squares; its slope, its value at 0, and the largest relative residual."""
    sizes, values = np.array(points, dtype=np.float64).T
    slope, start = np.polyfit(sizes, values, 1)
    expected = slope * sizes + start
    worst = float(np.max(np.abs(values - expected) / np.abs(expected)))
    return {"slope": float(slope), "start": float(start), "worst_residual": worst}


def _make_row(point: dict[str, float]) -> tuple[str, str, str]:
    return f"{point['size']:,}", f"{point['cpu_s']:.3f}", f"{point['peak_mb']:.0f}"


def _measure_in_a_process(part: str, size: int, folder: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.scale", "--one", part, str(size), "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    points: list[dict[str, Any]] = json.loads(done.stdout)["points"]
    return points


def _measure(part: str, size: int) -> list[dict[str, Any]]:
    """Measure the points of one process."""
    if part == "patients":
        return [_read_table(size)]
    if part == "rounds":
        return _run_rounds(_make_terms(size, 3), 3, size)
    sites, hidden = (size, None) if part == "sites" else (3, HIDDEN[size])
    rounds = 1 + (FEW if size < _LARGE else 1)
    last = _run_rounds(_make_terms(rounds, sites, hidden), sites, rounds)[-1]
    return [{**last, "size": size, "cpu_s": last["cpu_s"] / (sites if part == "sites" else 1)}]


def _make_terms(rounds: int, sites: int, hidden: list[int] | None = None) -> Terms:
    model = {"name": "mlp", "options": {"hidden": hidden}} if hidden else {"name": "logistic"}
    return without_privacy(
        model=model,
        training={"rounds": rounds, "local_steps": 1},
        evaluation={"rounds": []},
        cohort={"minimum": 3, "maximum": max(3, sites)},
    )


def _run_rounds(terms: Terms, sites: int, rounds: int) -> list[dict[str, Any]]:
    from benchmarks.memory_federation import MemoryFederation  # patients are read without it

    seconds, points = [], []
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        federation = MemoryFederation(Path(name), terms, sites)
        for number in range(1, rounds + 1):
            began = time.process_time()
            federation.run_until(number)
            seconds.append(time.process_time() - began)
            if number in ROUNDS or number == rounds:
                window = seconds[max(1, number - WINDOW) : number]
                peak = read_status_mb("VmHWM")
                points.append({"size": number, "cpu_s": median(window), "peak_mb": peak})
                say(f"round {number}: {median(window):.4f} s, {peak:.0f} MiB")
        federation.close()
    return points


def _read_table(rows: int) -> dict[str, Any]:
    from client.data.site_data import read_data

    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        path = write_patients(Path(name) / "train.csv", rows, "a")
        contract = small_terms().data
        began = time.process_time()
        read_data(contract, path)
        return {
            "size": rows,
            "cpu_s": time.process_time() - began,
            "peak_mb": read_status_mb("VmHWM"),
        }


if __name__ == "__main__":
    main()
