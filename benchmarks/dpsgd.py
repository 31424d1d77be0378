"""Measure what DP-SGD costs beside plain SGD: our engine, its noise, and Opacus. CPU, or CUDA with ``--device``.

``python -m benchmarks.dpsgd [--json] [--steps N] [--threads N] [--network NAME] [--no-wide] [--device cuda]``. Each
network of :mod:`benchmarks.dpsgd_networks` is measured in a process of its own, with the environment of the process
that trains (:data:`client.training.worker.KEPT_MEMORY`), where all ways take turns on the same batches, one record a
patient, cross-entropy. The first step of each is a warm-up. Figures are medians.

* ``plain_ms``: forward, backward and the update of plain SGD, in milliseconds of CPU time of all threads (on a GPU by
  the clock), as all times below.
* ``ours_ms``: forward, backward, clipping, the sum, and the same update; no noise.
* ``noise_ms``: the secure noise for all parameters, alone; ``noise_ns_per_parameter`` is measured on ten million, also
  by the clock with all threads.
* ``opacus_hooks_ms``, ``opacus_ghost_ms``: Opacus with hooks and with ghost clipping: clipping, sum and update, no
  noise. None where Opacus cannot.
* ``ratio_to_plain``: the median over the steps of ours by plain; ``bar``: what it should not exceed.
* ``..._peak_mb``: the most that torch holds during a step above what it held before: tensors, without what libraries
  take for themselves. ``memory_ratio``: of ours by plain.
* ``batch_records``: how many records a physical batch has in a site's training, by the memory that is free now, of
  which it may take ``batch_allowed_mb`` (:mod:`client.training.physical_batch`); ``batch_peak_mb``: the most that torch
  held during a step on one such batch.
* ``wide``: ``deepsynergy`` as its authors' program has it (12758-8182-4096-1, 138 million parameters), 64 records, each
  in both orders: one whole private step with noise and update, in a process of its own; ``peak_gb`` is the largest
  resident size of the process, libraries and model included.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.profiler import ProfilerActivity, profile

from benchmarks.dpsgd_networks import NETWORKS, Network
from client.training.physical_batch import choose_batch_bytes
from client.training.worker import KEPT_MEMORY
from models.catalogue import find_model
from privacy.command_line import print_json, print_table, say
from privacy.dpsgd import DpSgd, Mechanism, TensorRecords, add_noise
from privacy.randomness import from_os

_RATE: Final = 1e-3
_NORM: Final = 1.0
_NOISES: Final = 10_000_000
_WIDE_SIZES: Final = {"drug_features": 4_387, "cell_features": 3_984}


Step = Callable[[NDArray[np.int64]], None]
"""A function that takes one step on the records of a lot."""


@click.command()
@click.option("--steps", default=15, show_default=True, type=click.IntRange(3, 1000), help="Counted steps each.")
@click.option(
    "--threads", default=0, help="Threads of torch; 0: its own choice. One is steadier on a busy machine."
)
@click.option(
    "--network", "only", multiple=True, type=click.Choice(list(NETWORKS)), help="Only this one; repeatable."
)
@click.option("--wide/--no-wide", default=True, help="Whether to measure deepsynergy, of 138 million parameters.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--one", hidden=True, help="A network, or noise or wide, in this process.")
def main(
    steps: int, threads: int, only: tuple[str, ...], wide: bool, device: str, as_json: bool, one: str | None
) -> None:
    """Measure what DP-SGD costs beside plain SGD."""
    warnings.filterwarnings("ignore", module="opacus")
    warnings.filterwarnings("ignore", message="Full backward hook")
    if threads:
        torch.set_num_threads(threads)
    if one is not None:
        print_json(_measure_one(one, steps, torch.device(device)))
        return
    names = [*(only or NETWORKS), "noise", *(["wide"] if wide else [])]
    found: dict[str, Any] = {}
    for name in names:
        say(f"{name} ...")
        found[name] = _measure_in_process(name, ["--steps", steps, "--threads", threads, "--device", device])
    found |= found.pop("noise")
    if as_json:
        print_json({"device": torch.cuda.get_device_name() if device.startswith("cuda") else "CPU", **found})
        return
    shown = [name for name in only or NETWORKS if "failed" not in found[name]]
    print_table(("", *shown), [(key, *(str(found[name][key]) for name in shown)) for key in found[shown[0]]])
    say(f"noise: {found['noise_ns_per_parameter']} ns per parameter of CPU, {found['noise_clock_ns']} by the clock")
    for name in (name for name in names if "failed" in found.get(name, {})):
        say(f"{name}: {found[name]['failed']}")
    if wide:
        say(f"wide: {found['wide']}")
    for name in shown:
        ratio, bar = found[name]["ratio_to_plain"], NETWORKS[name].bar
        say(f"{name}: {ratio} x plain, {'within' if ratio <= bar else 'over'} the bar of {bar:g}")


def _measure_in_process(name: str, options: list[Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.dpsgd", "--one", name, *map(str, options)]
    environment = {**os.environ, **KEPT_MEMORY}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _measure_one(name: str, steps: int, device: torch.device) -> dict[str, Any]:
    if name == "wide":
        return _wide(device)
    return _measure_noise() if name == "noise" else _compare(NETWORKS[name], steps, device)


def _compare(network: Network, steps: int, device: torch.device) -> dict[str, float | None]:
    records, batch = 4 * network.batch, network.batch
    torch.manual_seed(0)
    table = TensorRecords(
        torch.randn(records, *network.shape, device=device),
        torch.randint(0, 2, (records,), device=device),
        torch.arange(records),
    )
    makers = {"plain": _plain, "ours": _ours, "opacus_hooks": _hooks, "opacus_ghost": _ghost}
    ways = {name: make(network.build().to(device), table) for name, make in makers.items()}
    random, times = np.random.default_rng(0), {name: list[float]() for name in ways}
    for turn in range(steps + 1):
        lot = np.sort(random.choice(records, batch, replace=False))
        for name, step in list(ways.items()):
            try:
                passed = _time(lambda step=step, lot=lot: step(lot), device)  # type: ignore[misc]
            except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError):
                if not name.startswith("opacus"):
                    raise
                del ways[name]  # Opacus has no way for this network
                continue
            if turn:
                times[name].append(1000 * passed)
    parameters = sum(parameter.numel() for parameter in network.build().parameters())
    total, stream = torch.zeros(parameters, device=device), from_os()
    noise = [1000 * _time(lambda: add_noise(total, 1.0, stream), device) for _ in range(steps)]
    peaks = {name: _find_peak_mb(ways[name], np.arange(batch), device) if name in ways else None for name in makers}
    plain_mb, ours_mb = peaks["plain"], peaks["ours"]
    assert plain_mb is not None
    assert ours_mb is not None
    return {
        "parameters": parameters,
        **{f"{name}_ms": round(median(times[name]), 2) if name in ways else None for name in makers},
        "noise_ms": round(median(noise), 2),
        "ratio_to_plain": round(
            median(ours / plain for ours, plain in zip(times["ours"], times["plain"], strict=True)), 2
        ),
        "bar": network.bar,
        **{f"{name}_peak_mb": peak for name, peak in peaks.items()},
        "memory_ratio": round(ours_mb / plain_mb, 2),
        **_fill_batch(network, device),
    }


def _fill_batch(network: Network, device: torch.device) -> dict[str, float | None]:
    """Take a step on as many records as the memory that is free now allows."""
    chosen, module = choose_batch_bytes(device), network.build().to(device)
    engine = DpSgd(module, _losses, Mechanism(0.25, 1, _NORM, 1.0), from_os(), "book-keeping", chosen)

    def make_table(records: int) -> TensorRecords:
        features = torch.randn(records, *network.shape, device=device)
        return TensorRecords(features, torch.zeros(records, dtype=torch.long, device=device), torch.arange(records))

    engine.sum_lot(make_table(1), np.arange(1))
    number = engine.records_at_once
    assert number is not None
    table = make_table(number)

    def step(lot: NDArray[np.int64]) -> None:
        engine.sum_lot(table, lot)

    peak = _find_peak_mb(step, np.arange(number), device)
    return {"batch_allowed_mb": round(chosen / 1e6), "batch_records": engine.records_at_once, "batch_peak_mb": peak}


def _plain(module: nn.Module, table: TensorRecords) -> Step:
    def step(lot: NDArray[np.int64]) -> None:
        features, labels = table.select(lot)
        torch.autograd.backward(_losses(module(features), labels).mean())
        with torch.no_grad():
            for parameter in module.parameters():
                assert parameter.grad is not None
                parameter.sub_(parameter.grad, alpha=_RATE)
                parameter.grad = None

    return step


def _ours(module: nn.Module, table: TensorRecords) -> Step:
    engine = DpSgd(module, _losses, Mechanism(0.25, table.patients, _NORM, 1.0), from_os(), "book-keeping")

    def step(lot: NDArray[np.int64]) -> None:
        _move(module, engine.sum_lot(table, lot), _RATE / len(lot))

    return step


def _hooks(module: nn.Module, table: TensorRecords) -> Step:
    hooked = GradSampleModule(module, loss_reduction="sum")
    descent = torch.optim.SGD(hooked.parameters(), lr=_RATE)
    optimizer = DPOptimizer(
        descent, noise_multiplier=0.0, max_grad_norm=_NORM, expected_batch_size=1, loss_reduction="sum"
    )

    def step(lot: NDArray[np.int64]) -> None:
        features, labels = table.select(lot)
        optimizer.zero_grad()
        torch.autograd.backward(_losses(hooked(features), labels).sum())
        optimizer.step()

    return step


def _ghost(module: nn.Module, table: TensorRecords) -> Step:
    hooked = GradSampleModuleFastGradientClipping(module, max_grad_norm=_NORM, use_ghost_clipping=True)
    descent = torch.optim.SGD(hooked.parameters(), lr=_RATE)
    optimizer = DPOptimizerFastGradientClipping(
        descent, noise_multiplier=0.0, max_grad_norm=_NORM, expected_batch_size=1
    )
    criterion = DPLossFastGradientClipping(hooked, optimizer, nn.CrossEntropyLoss(reduction="mean"))

    def step(lot: NDArray[np.int64]) -> None:
        features, labels = table.select(lot)
        optimizer.zero_grad()
        criterion(hooked(features), labels).backward()
        optimizer.step()

    return step


def _losses(outputs: torch.Tensor, labels: Any) -> torch.Tensor:
    return cross_entropy(outputs, labels, reduction="none")


def _move(module: nn.Module, total: torch.Tensor, rate: float) -> None:
    parameters = list(module.parameters())
    parts = torch.split(total, [parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.sub_(part.view_as(parameter), alpha=rate)


def _time(compute: Callable[[], None], device: torch.device) -> float:
    """Time in seconds: of the processor, which other programs change less, or of the clock on a GPU."""
    if device.type == "cpu":
        began = time.process_time()
        compute()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    compute()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def _find_peak_mb(step: Step, lot: NDArray[np.int64], device: torch.device) -> float:
    """Return the most that torch holds during a step, above what it held before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(lot)
        return round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step(lot)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    peak: int = max(accumulate(size for _, size in changes))
    return round(peak / 1e6, 1)


def _measure_noise() -> dict[str, float]:
    total, stream = torch.zeros(_NOISES), from_os()
    cpu, clock = list[float](), list[float]()
    for _ in range(7):
        began = time.process_time(), time.perf_counter()
        add_noise(total, 1.0, stream)
        cpu.append((time.process_time() - began[0]) / _NOISES * 1e9)
        clock.append((time.perf_counter() - began[1]) / _NOISES * 1e9)
    return {"noise_ns_per_parameter": round(median(cpu), 2), "noise_clock_ns": round(median(clock), 2)}


def _wide(device: torch.device) -> dict[str, float]:
    entry = find_model("deepsynergy")
    with torch.device(device):
        module = entry.build(entry.presets["program"], _WIDE_SIZES, ())
        inputs = {
            each.name: torch.randn(64, *(_WIDE_SIZES[str(axis)] for axis in each.axes)) for each in entry.inputs
        }
        table = TensorRecords(inputs, torch.ones(64), torch.arange(64))
    engine = DpSgd(module, _binary, Mechanism(1.0, 64, _NORM, 1.0), from_os())
    times = [_time(lambda: _move(module, engine.compute_gradient(table), _RATE), device) for _ in range(3)]
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak_gb": round(peak / 1e9, 2), "step_s": round(median(times), 2)}


def _binary(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return binary_cross_entropy_with_logits(logits, labels, reduction="none")


if __name__ == "__main__":
    main()
