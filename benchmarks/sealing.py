"""Measure what sealing costs: bytes, parameters per second and memory, beside plain float32 updates and CKKS.

``python -m benchmarks.sealing [--json] [--quick] [--part NAME ...]``. With masks and quantisation, 16 bits a value,
a roster of the sites that take part. Rounds of the schemes take turns. Figures are medians.

* ``speed``: bytes per parameter each way, and millions of parameters per second of each step on one core, in CPU
  seconds; then sealing and opening in one and in two processes, in wall-clock seconds.
* ``sizes``: bytes of an update and of an aggregate, by those of float32.
* ``large``: memory that sealing takes beyond the update's own integers.
* ``coordinator``: memory of a real coordinator above idle (:mod:`benchmarks.coordinator_memory`).

Bars are printed with the measured values; a missed bar is shown, and does not fail the program.
"""

import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path as Folder
from typing import Any, Final

import click
import numpy as np

from benchmarks.ckks import PACKED, PRACTICE, ckks_path
from benchmarks.coordinator_memory import coordinator_memory
from benchmarks.large import large_update
from benchmarks.path import WALL, Path, middle
from benchmarks.sealed_path import float32_path, invented_update, layout_for, sealed_path
from privacy.command_line import print_json, print_table, say

Way = Callable[[np.ndarray[Any, Any], int], Path]

WAYS: Final[dict[str, Way]] = {
    "float32": float32_path,
    "ckks": partial(ckks_path, scheme=PRACTICE),
    "ckks-packed": partial(ckks_path, scheme=PACKED),
    "sealed": sealed_path,
}
SIZES: Final = {100_000: 5, 1_000_000: 5, 10_000_000: 1}
"""Parameters, and how often each round is repeated."""
COMPARED_AT: Final = 1_000_000
SITES: Final = (3, 16)
COORDINATOR_SITES: Final = (3, 8, 32)
SIZE_BARS: Final = {(16, 8): {"up": 0.86, "down": 0.90}, (12, 4): {"up": 0.60, "down": 0.60}}
"""The most bytes each way, by those of float32, with these bits and sites."""
LARGE: Final = 100_000_000
PROCESSES: Final = (1, 2)
PARTS: Final = ("speed", "sizes", "large", "coordinator")
_STEPS: Final = ("quantise", "mask", "seal", "add", "open")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--quick", is_flag=True, help="Without 10^7 parameters, 32 sites, and with a tenth of the large model."
)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this; may be repeated.")
def main(as_json: bool, quick: bool, parts: Sequence[str]) -> None:
    """Bytes, speed and memory of sealed aggregation."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM then ends the processes that it started
    found: dict[str, Any] = {}
    for part in parts or PARTS:
        found |= {"speed": _speed, "sizes": _sizes, "large": _large, "coordinator": _coordinator}[part](quick)
    found["bars"] = _bars(found)
    if as_json:
        print_json(found)
    else:
        _show(found)


# Speed -----------------------------------------------------------------------------------------------------


def _speed(quick: bool) -> dict[str, Any]:
    measured: dict[tuple[int, int, str], Path] = {}
    for parameters, repeats in SIZES.items():
        if quick and parameters > COMPARED_AT:
            continue
        update = invented_update(parameters)
        for sites in SITES:
            say(f"{parameters:,} parameters, {sites} sites ...")
            runs: dict[str, list[Path]] = {
                name: [] for name in WAYS if "ckks" not in name or parameters <= COMPARED_AT
            }
            for _ in range(repeats):
                for name, paths in runs.items():
                    paths.append(WAYS[name](update, sites))
            measured |= {(parameters, sites, name): middle(paths) for name, paths in runs.items()}
    sealed, ckks, clear = (measured[COMPARED_AT, SITES[0], name] for name in ("sealed", "ckks", "float32"))
    return {
        "bytes_up_ratio_float32": sealed.bytes_up / clear.bytes_up,
        "bytes_down_ratio_float32": sealed.bytes_down / clear.bytes_down,
        "bytes_up_ratio_ckks": ckks.bytes_up / sealed.bytes_up,
        "throughput_ratio_ckks": {str(n): _times(measured, n, Path.whole) for n in SITES},
        "work_ratio_ckks": {str(n): _times(measured, n, Path.work) for n in SITES},
        "speed": [_row(*key, path) for key, path in measured.items()],
        "processes": [] if quick else _processes(max(SIZES)),
    }


def _times(measured: dict[tuple[int, int, str], Path], sites: int, seconds: Callable[[Path, int], float]) -> float:
    ckks, sealed = (seconds(measured[COMPARED_AT, sites, name], sites) for name in ("ckks", "sealed"))
    return ckks / sealed


def _row(parameters: int, sites: int, name: str, path: Path) -> dict[str, Any]:
    speeds = {step: _mega(parameters, getattr(path, step)) for step in _STEPS}
    return {
        "way": name,
        "parameters": parameters,
        "sites": sites,
        "bytes_up": path.bytes_up / parameters,
        "bytes_down": path.bytes_down / parameters,
        **speeds,
        "whole": _mega(parameters, path.whole(sites)),
    }


def _mega(parameters: int, seconds: float) -> float | None:
    return parameters / seconds / 1e6 if seconds else None


def _processes(parameters: int) -> list[dict[str, Any]]:
    """Time sealing and opening by the wall clock, because a CPU clock covers one process only."""
    update = invented_update(parameters)
    rows = []
    for processes in PROCESSES:
        say(f"{parameters:,} parameters, {processes} processes ...")
        path = sealed_path(update, SITES[0], processes, WALL)
        speeds = {step: _mega(parameters, getattr(path, step)) for step in ("seal", "open")}
        rows.append(
            {"processes": processes, "cores": len(os.sched_getaffinity(0)), "parameters": parameters, **speeds}
        )
    return rows


# Sizes -----------------------------------------------------------------------------------------------------


def _sizes(_quick: bool) -> dict[str, Any]:
    return {"sizes": {str(bits): _compute_sizes(bits, sites) for bits, sites in SIZE_BARS}}


def _compute_sizes(bits: int, sites: int) -> dict[str, float]:
    """Compute the bytes of an update and of an aggregate, by those of float32."""
    layout, clear = layout_for(COMPARED_AT, sites, bits=bits), 4 * COMPARED_AT
    return {"up": layout.sealed_bytes / clear, "down": layout.compute_aggregate_bytes(sites) / clear}


# Memory ----------------------------------------------------------------------------------------------------


def _large(quick: bool) -> dict[str, Any]:
    parameters = LARGE // 10 if quick else LARGE
    rows = []
    for processes in PROCESSES:
        say(f"sealing {parameters:,} parameters in {processes} processes ...")
        rows.append(large_update(parameters, processes))
    return {"large": rows}


def _coordinator(quick: bool) -> dict[str, Any]:
    rows = {}
    for sites in COORDINATOR_SITES[: 2 if quick else 3]:
        say(f"a coordinator of {sites} sites ...")
        with tempfile.TemporaryDirectory(prefix="sealing-") as folder:
            rows[str(sites)] = asdict(coordinator_memory(Folder(folder), sites))
    return {"coordinator_growth_mb": {sites: row["growth_mb"] for sites, row in rows.items()}, "coordinator": rows}


# Bars ------------------------------------------------------------------------------------------------------


def _bars(found: dict[str, Any]) -> list[dict[str, Any]]:
    bars = []
    if "throughput_ratio_ckks" in found:
        whole = found["throughput_ratio_ckks"]
        bars += [
            _bar("upload by float32", found["bytes_up_ratio_float32"], 1.0, at_most=True),
            _bar("upload of CKKS by ours", found["bytes_up_ratio_ckks"], 15.0),
            _bar("whole path by CKKS, 3 sites", whole["3"], 8.0),
            _bar("whole path by CKKS, 16 sites", whole["16"], 6.0),
        ]
    for (bits, sites), most in SIZE_BARS.items() if "sizes" in found else ():
        bars += [
            _bar(f"{way} by float32, {bits} bits, {sites} sites", value, most[way], at_most=True)
            for way, value in found["sizes"][str(bits)].items()
        ]
    if "large" in found:
        growth = max(row["growth_mb"] for row in found["large"])
        bars.append(_bar("memory of sealing a large update, MiB", growth, 1024.0, at_most=True))
    if "coordinator" in found:
        growths = found["coordinator_growth_mb"].values()
        bars.append(_bar("coordinator memory, most by least", max(growths) / min(growths), 1.15, at_most=True))
    return bars


def _bar(what: str, value: float, bar: float, *, at_most: bool = False) -> dict[str, Any]:
    return {
        "what": what,
        "value": value,
        "at_most" if at_most else "at_least": bar,
        "held": (value <= bar) is at_most,
    }


# Tables ----------------------------------------------------------------------------------------------------


def _show(found: dict[str, Any]) -> None:
    coordinator = [{"sites": sites, **row} for sites, row in found.get("coordinator", {}).items()]
    for rows in (found.get("speed"), found.get("processes"), found.get("large"), coordinator):
        if rows:
            print_table(list(rows[0]), [[_word(value) for value in row.values()] for row in rows])
            click.echo()
    for bar in found["bars"]:
        limit = f"at most {bar['at_most']:g}" if "at_most" in bar else f"at least {bar['at_least']:g}"
        click.echo(f"{'held  ' if bar['held'] else 'MISSED'}  {bar['what']}: {bar['value']:.3g}, {limit}")


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
